//! The pre-tokenizers by name: the patterns that llama.cpp gives each `tokenizer.ggml.pre` name.
//! They define the tokenizers.
//!
//! Where llama.cpp says "a letter that is not one of a to z" by a look-ahead, it is a difference
//! of classes here. Where it cannot tell upper from lower case beyond ASCII, its meaning is kept.

/// One stage of a family.
#[derive(Clone, Copy)]
pub(super) enum Rule {
    /// A pattern alone.
    Pattern(&'static str),
    /// A pattern that ends in the alternatives `\s+(?!\S)|\s+`, which are left out here: of a run
    /// of spaces before a word, the last is left to the word.
    Words(&'static str),
    /// A pattern that ends in `\s{512}(?!\S)|\s{256}(?!\S)|…|\s{4}(?!\S)|\s{1,2}(?!\S)|\s{1}`,
    /// which are left out here: as `Words`, but a run is cut into powers of two.
    PowersOfTwo(&'static str),
    /// A pattern for runs of digits, each of which is cut into threes, counted from its end.
    Threes(&'static str),
    /// As `Threes`, but what lies before a run stays with its first piece. This is llama.cpp's way
    /// with the two families that have it; it shows in spaces before a number.
    ThreesWithBefore(&'static str),
}

use Rule::{Pattern, PowersOfTwo, Threes, ThreesWithBefore, Words};

/// Pre-tokenizers that are the same under several names.
pub(super) struct Family {
    pub(super) names: &'static [&'static str],
    pub(super) rules: &'static [Rule],
    /// A word that is a token as it stands is not merged from its bytes.
    pub(super) whole_words: bool,
    /// BOS goes before a prompt where the file does not say.
    pub(super) add_bos: bool,
}

impl Family {
    /// A family as most are: words are merged, and no BOS is added.
    const fn plain(names: &'static [&'static str], rules: &'static [Rule]) -> Family {
        Family { names, rules, whole_words: false, add_bos: false }
    }

    const fn whole_words(self) -> Family {
        Family { whole_words: true, ..self }
    }

    const fn with_bos(self) -> Family {
        Family { add_bos: true, ..self }
    }
}

/// English contractions in any case.
macro_rules! contractions {
    () => {
        "'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD]"
    };
}

/// Words of letters with one sign before them, numbers of `$digits`, runs of signs; line ends.
macro_rules! letters_digits_signs {
    ($digits:literal) => {
        concat!(r"[^\r\n\p{L}\p{N}]?\p{L}+|", $digits, r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+")
    };
}

/// Words that begin anew at a capital letter, with a contraction at their end; `$upper` are the
/// letters but a to z, `$lower` those but A to Z.
macro_rules! camel_case {
    ($upper:literal, $lower:literal, $digits:literal) => {
        concat!(
            r"[^\r\n\p{L}\p{N}]?",
            $upper,
            "*",
            $lower,
            "+(?:",
            contractions!(),
            r")?|[^\r\n\p{L}\p{N}]?",
            $upper,
            "+",
            $lower,
            "*(?:",
            contractions!(),
            ")?|",
            $digits,
            r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+"
        )
    };
}

/// A sign with ASCII letters, words with the marks on them, runs of signs.
macro_rules! sign_then_letters {
    ($rest:literal) => {
        concat!(
            r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|"##,
            r"[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+",
            $rest
        )
    };
}

const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+";
const LLAMA3: &str = concat!(contractions!(), "|", letters_digits_signs!(r"\p{N}{1,3}"));
const QWEN2: &str = concat!(contractions!(), "|", letters_digits_signs!(r"\p{N}"));
const QWEN35: &str = concat!(
    contractions!(),
    r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+"
);
const TEKKEN: &str = concat!(
    r"[^\r\n\p{L}\p{N}]?[\p{L}--[a-z]]*[\p{L}--[A-Z]]+|",
    r"[^\r\n\p{L}\p{N}]?[\p{L}--[a-z]]+[\p{L}--[A-Z]]*|",
    r"\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+"
);
const GPT4O: &str = camel_case!(r"[\p{L}--[a-z]]", r"[\p{L}--[A-Z]]", r"\p{N}{1,3}");
const GRANITE_MULTI: &str =
    camel_case!(r"[[\p{L}\p{M}]--[a-z]]", r"[[\p{L}\p{M}]--[A-Z]]", r"\p{N}{1,3}");
const TINY_AYA: &str = camel_case!(r"[\p{L}\p{M}]", r"[\p{L}\p{M}]", r"\p{N}{1,3}");
const YOUTU: &str = camel_case!(r"[\p{L}\p{M}]", r"[\p{L}\p{M}]", r"\p{N}");
const BAILING: &str = concat!(
    r"'(?:[sSdDmMtT]|[lL][lL]|[vV][eE]|[rR][eE])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|",
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]"
);
const SEED_CODER: &str = concat!(
    contractions!(),
    r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+"
);
const EXAONE_MOE: &str = concat!(
    contractions!(),
    r"|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}|",
    r" ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]"
);
/// Han characters by the blocks that llama.cpp counts as such.
macro_rules! han {
    () => {
        concat!(
            r"\u{3400}-\u{4DBF}\u{4E00}-\u{9FFF}\u{F900}-\u{FAFF}\u{20000}-\u{2A6DF}",
            r"\u{2A700}-\u{2EBEF}\u{2F800}-\u{2FA1F}"
        )
    };
}
const KIMI: &str = concat!(
    "[",
    han!(),
    r"]+|[^\r\n\p{L}\p{N}]?[\p{L}--[",
    han!(),
    "]]+(?:",
    contractions!(),
    r")?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
);
const BLOOM: Rule =
    Pattern(r" ?[^(\s|.,!?\u{2026}\u{3002}\u{FF0C}\u{3001}\u{964}\u{6D4}\u{60C})]+");
const CJK_KANA: Rule = Pattern(r"[\u{4E00}-\u{9FA5}\u{3040}-\u{309F}\u{30A0}-\u{30FF}]+");
/// Spaces are in the range that the class names, but llama.cpp takes them for spaces before.
const CJK_HANGUL: Rule = Pattern(r"[[\u{4E00}-\u{9FA5}\u{800}-\u{4E00}\u{AC00}-\u{D7FF}]--\s]+");
const LINES: Rule = Pattern(r"[^\n]+|[\n]+");
const DIGIT: Rule = Pattern(r"\p{N}");
const THREE_DIGITS: Rule = Pattern("[0-9][0-9][0-9]");

/// Letters with case, as of the Unicode version that DeepSeek's tokenizer was made with.
const DEEPSEEK_LETTERS: Rule = Pattern(concat!(
    r"\s?[A-Za-z\u{B5}\u{C0}-\u{D6}\u{D8}-\u{F6}\u{F8}-\u{1BA}\u{1BC}-\u{1BF}\u{1C4}-\u{293}",
    r"\u{295}-\u{2AF}\u{370}-\u{373}\u{376}\u{377}\u{37B}-\u{37D}\u{37F}\u{386}\u{388}-\u{38A}",
    r"\u{38C}\u{38E}-\u{3A1}\u{3A3}-\u{3F5}\u{3F7}-\u{481}\u{48A}-\u{52F}\u{531}-\u{556}",
    r"\u{10A0}-\u{10C5}\u{13A0}-\u{13F5}\u{13F8}-\u{13FD}\u{1C90}-\u{1CBA}\u{1CBD}-\u{1CBF}",
    r"\u{1D00}-\u{1D2B}\u{1D6B}-\u{1D77}\u{1D79}-\u{1D9A}\u{1E00}-\u{1F15}\u{1F18}-\u{1F1D}",
    r"\u{1F20}-\u{1F45}\u{1F48}-\u{1F4D}\u{1F50}-\u{1F57}\u{1F59}\u{1F5B}\u{1F5D}",
    r"\u{1F5F}-\u{1F7D}\u{1F80}-\u{1FB4}\u{1FB6}-\u{1FBC}\u{1FBE}\u{1FC2}-\u{1FC4}",
    r"\u{1FC6}-\u{1FCC}\u{1FD0}-\u{1FD3}\u{1FD6}-\u{1FDB}\u{1FE0}-\u{1FEC}\u{1FF2}-\u{1FF4}",
    r"\u{1FF6}-\u{1FFC}\u{2102}\u{2107}\u{210A}-\u{2113}\u{2115}\u{2119}-\u{211D}\u{2124}",
    r"\u{2126}\u{2128}\u{212A}-\u{212D}\u{212F}-\u{2134}\u{2139}\u{213C}-\u{213F}",
    r"\u{2145}-\u{2149}\u{214E}\u{2183}\u{2184}\u{2C00}-\u{2C7B}\u{2C7E}-\u{2CE4}",
    r"\u{2CEB}-\u{2CEE}\u{2CF2}\u{2CF3}\u{A640}-\u{A66D}\u{A680}-\u{A69B}\u{A722}-\u{A76F}",
    r"\u{A771}-\u{A787}\u{A78B}-\u{A78E}\u{AB70}-\u{ABBF}\u{FB00}-\u{FB06}\u{FB13}-\u{FB17}",
    r"\u{FF21}-\u{FF3A}\u{FF41}-\u{FF5A}\u{10400}-\u{1044F}\u{104B0}-\u{104D3}",
    r"\u{104D8}-\u{104FB}\u{10C80}-\u{10CB2}\u{10CC0}-\u{10CF2}\u{118A0}-\u{118DF}",
    r"\u{1E900}-\u{1E943}]+"
));
/// U+3000 is in DeepSeek's class, but is a space to llama.cpp before it looks there.
const DEEPSEEK_SIGNS: Rule =
    Pattern(r"\s?[!-/:-~\u{FF01}-\u{FF0F}\u{FF1A}-\u{FF5E}\u{2018}-\u{201F}\u{3001}\u{3002}]+");
const YOUTU_SCRIPTS: Rule = Pattern(concat!(
    r"[\u{AC00}-\u{D7A3}\u{3131}-\u{318E}]+|",
    r"[\u{FF01}\u{2026}\u{201C}\u{201D}\u{2018}\u{2019}\u{2014}\u{FF1A}\u{FF1B}\u{FF0C}",
    r"\u{3001}-\u{303F}\u{FE30}-\u{FE4F}]+|",
    r"[\u{3105}-\u{312F}]+|[\u{4E00}-\u{9FA5}\u{3040}-\u{309F}\u{30A0}-\u{30FF}]+"
));
const AFMOE_SCRIPTS: Rule = Pattern(concat!(
    r"[\u{4E00}-\u{9FFF}\u{3400}-\u{4DBF}\u{8C48}-\u{FAFF}\u{3040}-\u{309F}\u{30A0}-\u{30FF}",
    r"\u{FF65}-\u{FF9F}\u{2F00}-\u{2FDF}\u{E40}-\u{E7F}\u{E80}-\u{EFF}\u{1780}-\u{17FF}",
    r"\u{1000}-\u{109F}\u{AA60}-\u{AA7F}\u{A9E0}-\u{A9FF}\u{AC00}-\u{D7AF}\u{1100}-\u{11FF}]+"
));

/// Every family.
pub(super) const FAMILIES: &[Family] = &[
    Family::plain(
        &[
            "smollm",
            "starcoder",
            "refact",
            "command-r",
            "codeshell",
            "exaone",
            "minerva-7b",
            "mellum2",
        ],
        &[DIGIT, Words(GPT2)],
    ),
    Family::plain(
        &[
            "gpt-2",
            "phi-2",
            "mpt",
            "olmo",
            "jais",
            "trillion",
            "granite-docling",
            "exaone4",
            "gigachat",
            "a.x-4.0",
            "mellum",
            "modern-bert",
            "jina-es",
            "jina-de",
            "jina-v1-en",
            "jina-v2-es",
            "jina-v2-de",
            "jina-v2-code",
            "roberta-bpe",
        ],
        &[Words(GPT2)],
    ),
    Family::plain(
        &[
            "llama-bpe",
            "llama3",
            "llama-v3",
            "falcon3",
            "falcon-h1",
            "pixtral",
            "midm-2.0",
            "lfm2",
            "jina-v5-nano",
        ],
        &[Words(LLAMA3)],
    )
    .whole_words()
    .with_bos(),
    Family::plain(&["dbrx", "smaug-bpe", "glm4", "chatglm-bpe"], &[Words(LLAMA3)]),
    Family::plain(&["jais-2"], &[PowersOfTwo(LLAMA3)]),
    Family::plain(
        &[
            "qwen2",
            "deepseek-r1-qwen",
            "stablelm2",
            "hunyuan",
            "megrez",
            "kormo",
            "f2llmv2",
            "solar-open",
            "grok-2",
        ],
        &[Words(QWEN2)],
    ),
    Family::plain(&["laguna"], &[LINES, Words(QWEN2)]),
    Family::plain(&["ufakzeka"], &[Words(letters_digits_signs!(r"\p{N}"))]),
    Family::plain(
        &["minicpm5"],
        &[
            Pattern(r"\p{N}{1,3}"),
            Words(concat!(contractions!(), "|", letters_digits_signs!(r"\p{N}+"))),
        ],
    )
    .whole_words(),
    Family::plain(&["qwen35"], &[Words(QWEN35)]),
    Family::plain(&["tekken"], &[Words(TEKKEN)]).whole_words().with_bos(),
    Family::plain(&["gpt-4o", "llama4", "minimax-m2", "kanana2", "talkie"], &[Words(GPT4O)]),
    Family::plain(&["granite-embed-multi-97m"], &[Words(GRANITE_MULTI)]).whole_words(),
    Family::plain(
        &["tiny_aya", "cohere2moe"],
        &[ThreesWithBefore(r"[0-9]+(?-u:\b)"), Words(TINY_AYA)],
    ),
    Family::plain(&["superbpe"], &[Pattern(r"\p{N}+"), Threes("[0-9]+")]),
    Family::plain(&["youtu"], &[YOUTU_SCRIPTS, Words(YOUTU)]).whole_words(),
    Family::plain(&["kimi-k2"], &[Words(KIMI)]),
    Family::plain(&["bailingmoe", "bailingmoe2", "llada-moe"], &[Words(BAILING)]),
    Family::plain(&["seed-coder"], &[Words(SEED_CODER)]),
    Family::plain(&["exaone-moe"], &[Words(EXAONE_MOE)]),
    Family::plain(
        &["deepseek-llm"],
        &[
            Pattern(r"[\r\n]"),
            DEEPSEEK_LETTERS,
            DEEPSEEK_SIGNS,
            Pattern(r"\s+$"),
            CJK_HANGUL,
            Pattern(r"\p{N}+"),
        ],
    ),
    Family::plain(
        &["deepseek-coder"],
        &[Pattern(r"[\r\n]"), Pattern(r"\s?\p{L}+"), Pattern(r"\s?\p{P}+"), CJK_HANGUL, DIGIT],
    ),
    Family::plain(
        &["deepseek-v3", "hunyuan-dense", "joyai-llm", "hy_v4"],
        &[Pattern(r"\p{N}{1,3}"), CJK_KANA, Words(sign_then_letters!(r"[\r\n]*|\s*[\r\n]+"))],
    ),
    Family::plain(
        &["spark2_5"],
        &[Pattern(r"\p{N}{1,3}"), CJK_KANA, Words(sign_then_letters!(r"|[\r\n]")), DIGIT],
    ),
    Family::plain(
        &["afmoe"],
        &[
            ThreesWithBefore(r"\p{N}+"),
            AFMOE_SCRIPTS,
            Words(sign_then_letters!(r"[\r\n]*|\s*[\r\n]+")),
        ],
    ),
    Family::plain(&["bloom", "poro-chat", "gpt3-finnish"], &[BLOOM]),
    Family::plain(&["viking"], &[BLOOM, DIGIT]),
    Family::plain(&["falcon"], &[Pattern(r"[\p{P}\$\+<=>\^~\|`]+"), Words(GPT2), THREE_DIGITS]),
    Family::plain(
        &["default"],
        &[Pattern(r"[\p{P}\$\+<=>\^~\|]+"), Words(GPT2), Pattern(r"\p{N}+"), THREE_DIGITS],
    ),
    Family::plain(
        &["chameleon"],
        &[
            Pattern("<sentinel:[0-9]+>"),
            Pattern("(?:IMGIMG)(?:[A-I]{1,4})Z"),
            Pattern(r"[\t\n]|    |  "),
            DIGIT,
            Pattern(r"[\p{P}!-/:-@\[-`{-~]"),
            Words(GPT2),
        ],
    )
    .with_bos(),
];

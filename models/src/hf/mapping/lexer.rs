//! Text → statements as tokens. A statement is a line with the indented lines that follow it.

/// A token.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    /// A word: a keyword, a key, or a tensor's name with its dots and holes.
    Word(String),
    Number(f64),
    Text(String),
    /// An operator or a bracket.
    Sign(&'static str),
}

impl std::fmt::Display for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Token::Word(word) => write!(f, "`{word}`"),
            Token::Number(number) => write!(f, "`{number}`"),
            Token::Text(text) => write!(f, "{text:?}"),
            Token::Sign(sign) => write!(f, "`{sign}`"),
        }
    }
}

/// Signs, longer ones before their beginnings.
const SIGNS: [&str; 14] =
    ["?=", "==", "!=", "//", "=", "<", ">", "+", "-", "*", "/", "(", ")", ","];

/// A line's number and what is wrong there.
pub(super) type Fault = (usize, String);

/// The statements' tokens, each with its line.
pub(super) fn statements(text: &str) -> Result<Vec<Vec<(usize, Token)>>, Fault> {
    let mut all: Vec<Vec<(usize, Token)>> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let number = index + 1;
        let tokens = tokens(line).map_err(|why| (number, why))?;
        if tokens.is_empty() {
            continue;
        }
        let tokens = tokens.into_iter().map(|token| (number, token));
        match (line.starts_with([' ', '\t']), all.last_mut()) {
            (true, Some(statement)) => statement.extend(tokens),
            (true, None) => return Err((number, "an indented line continues nothing".into())),
            (false, _) => all.push(tokens.collect()),
        }
    }
    Ok(all)
}

fn tokens(line: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = line.trim_start();
    while let Some(first) = rest.chars().next() {
        if first == '#' {
            break;
        }
        let (token, length) = if first == '"' {
            let end = rest[1..].find('"').ok_or("a text begins here, but has no closing `\"`")?;
            (Token::Text(rest[1..=end].into()), end + 2)
        } else if first.is_ascii_digit() {
            let part = |c: char| c.is_ascii_alphanumeric() || c == '.';
            let exponent =
                rest.find("e-").map(|at| at + 2).filter(|at| rest[..*at - 2].chars().all(part));
            let start = exponent.unwrap_or(0);
            let length = rest[start..].find(|c| !part(c)).map_or(rest.len(), |at| start + at);
            let number = rest[..length]
                .parse()
                .map_err(|_| format!("`{}` is no number", &rest[..length]))?;
            (Token::Number(number), length)
        } else if first.is_ascii_alphabetic() || first == '_' {
            let part = |c: char| c.is_ascii_alphanumeric() || "_.{}".contains(c);
            let length = rest.find(|c| !part(c)).unwrap_or(rest.len());
            (Token::Word(rest[..length].into()), length)
        } else if let Some(sign) = SIGNS.into_iter().find(|sign| rest.starts_with(sign)) {
            (Token::Sign(sign), sign.len())
        } else {
            return Err(format!("`{first}` has no meaning here"));
        };
        tokens.push(token);
        rest = rest[length..].trim_start();
    }
    Ok(tokens)
}

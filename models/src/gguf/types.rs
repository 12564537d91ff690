//! ggml's tensor type numbers and their names.
//!
//! A type is supported where [`Format`] has one of the same name, so a format that is added there is
//! read here at once.

use quarrel_ir::format::Format;

/// Every type number that ggml has used, with its name; numbers that it retired included.
const TYPES: [(u32, &str); 42] = [
    (0, "F32"),
    (1, "F16"),
    (2, "Q4_0"),
    (3, "Q4_1"),
    (4, "Q4_2"),
    (5, "Q4_3"),
    (6, "Q5_0"),
    (7, "Q5_1"),
    (8, "Q8_0"),
    (9, "Q8_1"),
    (10, "Q2_K"),
    (11, "Q3_K"),
    (12, "Q4_K"),
    (13, "Q5_K"),
    (14, "Q6_K"),
    (15, "Q8_K"),
    (16, "IQ2_XXS"),
    (17, "IQ2_XS"),
    (18, "IQ3_XXS"),
    (19, "IQ1_S"),
    (20, "IQ4_NL"),
    (21, "IQ3_S"),
    (22, "IQ2_S"),
    (23, "IQ4_XS"),
    (24, "I8"),
    (25, "I16"),
    (26, "I32"),
    (27, "I64"),
    (28, "F64"),
    (29, "IQ1_M"),
    (30, "BF16"),
    (31, "Q4_0_4_4"),
    (32, "Q4_0_4_8"),
    (33, "Q4_0_8_8"),
    (34, "TQ1_0"),
    (35, "TQ2_0"),
    (36, "IQ4_NL_4_4"),
    (37, "IQ4_NL_4_8"),
    (38, "IQ4_NL_8_8"),
    (39, "MXFP4"),
    (40, "NVFP4"),
    (41, "Q1_0"),
];

/// The format with ggml's type number `number`, if Quarrel supports it.
pub(super) fn format(number: u32) -> Option<Format> {
    name(number).and_then(Format::from_name)
}

/// ggml's type number of a format.
pub(super) fn number(format: Format) -> Option<u32> {
    TYPES.iter().find(|(_, name)| *name == format.name()).map(|(number, _)| *number)
}

/// A type's name and number, for messages.
pub(super) fn describe(number: u32) -> String {
    match name(number) {
        Some(name) => format!("{name} ({number})"),
        None => format!("number {number} (unknown)"),
    }
}

/// The supported formats' names, for messages.
pub(super) fn supported() -> String {
    Format::ALL.map(Format::name).join(", ")
}

fn name(number: u32) -> Option<&'static str> {
    TYPES.iter().find(|(n, _)| *n == number).map(|(_, name)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_format_has_a_number_and_is_found_by_it() {
        for f in Format::ALL {
            assert_eq!(format(number(f).unwrap()), Some(f));
        }
    }

    #[test]
    fn unsupported_types_are_known_by_name() {
        assert_eq!(describe(9), "Q8_1 (9)");
        assert_eq!(describe(99), "number 99 (unknown)");
        assert_eq!(format(99), None);
    }
}

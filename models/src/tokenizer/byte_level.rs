//! The byte-level alphabet of GPT-2: each byte is written as one printable character, so that
//! any bytes at all can be tokens of a text vocabulary.
//!
//! Bytes that print (`!`–`~`, `¡`–`¬`, `®`–`ÿ`) stand for themselves as code points; the other 68
//! take U+0100 onwards, in order.

/// Characters by byte.
const CHAR_OF_BYTE: [char; 256] = build_chars();

/// Bytes by code point below `0x144`; the alphabet uses none above.
const BYTE_OF_CHAR: [Option<u8>; 0x144] = build_bytes();

const fn prints(byte: u8) -> bool {
    matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF)
}

const fn build_chars() -> [char; 256] {
    let mut chars = ['\0'; 256];
    let mut next = 0x100u32;
    let mut byte = 0usize;
    while byte < 256 {
        chars[byte] = if prints(byte as u8) {
            byte as u8 as char
        } else {
            next += 1;
            match char::from_u32(next - 1) {
                Some(c) => c,
                None => '\0', // not reached: U+0100 to U+0143 are characters
            }
        };
        byte += 1;
    }
    chars
}

const fn build_bytes() -> [Option<u8>; 0x144] {
    let mut bytes = [None; 0x144];
    let mut byte = 0usize;
    while byte < 256 {
        bytes[CHAR_OF_BYTE[byte] as usize] = Some(byte as u8);
        byte += 1;
    }
    bytes
}

/// The character that writes `byte`.
pub(super) fn char_of_byte(byte: u8) -> char {
    CHAR_OF_BYTE[usize::from(byte)] // 256 entries, one a byte
}

/// The byte that `c` writes, if `c` is of the alphabet.
pub(super) fn byte_of_char(c: char) -> Option<u8> {
    BYTE_OF_CHAR.get(c as usize).copied().flatten()
}

/// Appends the bytes that `text` writes. A character outside the alphabet stands for itself.
pub(super) fn append_bytes(text: &str, out: &mut Vec<u8>) {
    for c in text.chars() {
        match byte_of_char(c) {
            Some(byte) => out.push(byte),
            None => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alphabet_is_a_bijection() {
        for byte in 0..=255u8 {
            assert_eq!(byte_of_char(char_of_byte(byte)), Some(byte));
        }
    }

    #[test]
    fn alphabet_has_the_known_characters() {
        assert_eq!(char_of_byte(b' '), 'Ġ');
        assert_eq!(char_of_byte(b'\n'), 'Ċ');
        assert_eq!(char_of_byte(0xAD), 'Ń');
        assert_eq!(byte_of_char('日'), None);
    }
}

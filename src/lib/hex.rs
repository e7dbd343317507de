//! Lower-case hex of fixed length: hashes, stamps, actors. There is one spelling of each, so upper case is none.
//!
//! Written into arrays: `format!` was a sixth of what it took to write an entry, `from_str_radix` a tenth of reading it.

/// Fills `text` with the low digits of `number`, the last one last.
pub fn write(mut number: u64, text: &mut [u8]) {
    for digit in text.iter_mut().rev() {
        *digit = b"0123456789abcdef"[(number & 15) as usize];
        number >>= 4;
    }
}

/// Reads at most 16 digits; `None` for anything else.
#[must_use]
pub fn read(text: &[u8]) -> Option<u64> {
    let of = |number: u64, digit: &u8| Some(number << 4 | u64::from(value(*digit)?));
    if text.len() > 16 { None } else { text.iter().try_fold(0, of) }
}

/// The value of one digit.
#[must_use]
pub fn value(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

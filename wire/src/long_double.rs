//! The arithmetic of INCRBYFLOAT: redis-server reads, adds and prints in C's `long double`, which on x86-64 is the
//! 80-bit extended format of the x87: a sign, 15 bits of exponent and a significand of 64 bits (IEEE 754-1985,
//! "double extended"). Here the same with integers of any size, so that every worker on any processor gets its digits.

use num_bigint::BigUint;

/// Why there is no sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FloatError {
    /// One of the two is no number, or none the format can hold.
    #[error("the value is not a valid float")]
    NotFloat,
    /// The sum is infinite.
    #[error("the sum is NaN or infinite")]
    NotFinite,
}

/// Bits of a significand.
const PRECISION: u64 = 64;
/// The exponent of the lowest bit of the smallest numbers.
const EXPONENT_MIN: i64 = -16_445;
/// The exponent of the lowest bit of the largest numbers.
const EXPONENT_MAX: i64 = 16_320;
/// Longer texts are no numbers to redis-server, in bytes.
const TEXT_BYTES_MAX: usize = 5 * 1024 - 1;
/// Decimal or binary exponents beyond this are beyond the format, whatever stands before them: a text's digits move it by
/// less than [`TEXT_BYTES_MAX`] of either.
const EXPONENT_CLAMP: i64 = 100_000;
/// Digits printed after the point, before trailing zeros go.
const FRACTION_DIGITS: u32 = 17;

/// A number of the format: ±significand × 2^exponent.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Number {
    Finite { negative: bool, significand: BigUint, exponent: i64 },
    Infinite,
}

/// The sum of two numbers as text, as `INCRBYFLOAT` stores it: rounded to 17 digits after the point, without trailing
/// zeros, never with an exponent.
pub fn add(value: &[u8], by: &[u8]) -> Result<Vec<u8>, FloatError> {
    match (parse(value)?, parse(by)?) {
        (
            Number::Finite { negative: n1, significand: s1, exponent: e1 },
            Number::Finite { negative: n2, significand: s2, exponent: e2 },
        ) => {
            let exponent = e1.min(e2);
            let (one, other) = (s1 << shift(e1 - exponent), s2 << shift(e2 - exponent));
            let (negative, magnitude) = match (n1 == n2, one >= other) {
                (true, _) => (n1, one + other),
                (false, true) => (n1, one - other),
                (false, false) => (n2, other - one),
            };
            match round(magnitude, exponent, false) {
                Some((significand, exponent)) => Ok(print(negative, &significand, exponent)),
                None => Err(FloatError::NotFinite),
            }
        }
        _ => Err(FloatError::NotFinite),
    }
}

/// A difference of exponents as a shift; the larger of the two is given first.
fn shift(difference: i64) -> u64 {
    u64::try_from(difference).expect("the larger exponent comes first")
}

/// Divides by 2^bits and rounds to the nearest, ties to even; `sticky` says that something was cut off before.
fn divide_rounded(magnitude: &BigUint, bits: u64, sticky: bool) -> BigUint {
    if bits == 0 {
        return magnitude.clone();
    }
    let quotient = magnitude >> bits;
    let half = magnitude.bit(bits - 1);
    let below_half = sticky || magnitude.trailing_zeros().is_some_and(|zeros| zeros < bits - 1);
    if half && (below_half || quotient.bit(0)) { quotient + 1u8 } else { quotient }
}

/// The nearest number of the format to magnitude × 2^exponent; None where that is infinite.
fn round(magnitude: BigUint, exponent: i64, sticky: bool) -> Option<(BigUint, i64)> {
    let surplus = i64::try_from(magnitude.bits()).ok()? - PRECISION as i64;
    let cut = surplus.max(EXPONENT_MIN - exponent);
    if cut <= 0 {
        return fits(magnitude, exponent);
    }
    let rounded = divide_rounded(&magnitude, shift(cut), sticky);
    fits(rounded, exponent + cut)
}

fn fits(significand: BigUint, exponent: i64) -> Option<(BigUint, i64)> {
    let bits = i64::try_from(significand.bits()).ok()?;
    (exponent + bits - PRECISION as i64 <= EXPONENT_MAX).then_some((significand, exponent))
}

/// Reads what C's `strtold` reads, if that is the whole text: decimal or hexadecimal, or an infinity.
fn parse(text: &[u8]) -> Result<Number, FloatError> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(FloatError::NotFloat);
    }
    let (negative, rest) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    if rest.eq_ignore_ascii_case(b"inf") || rest.eq_ignore_ascii_case(b"infinity") {
        return Ok(Number::Infinite);
    }
    let read = match rest {
        [b'0', b'x' | b'X', digits @ ..] => read_hexadecimal(digits),
        digits => read_decimal(digits),
    };
    let (significand, exponent) = read.ok_or(FloatError::NotFloat)?;
    Ok(Number::Finite { negative, significand, exponent })
}

/// The digits of a number without their point, how many stood behind it, and its exponent.
fn split(text: &[u8], radix: u32, mark: u8) -> Option<(Vec<u8>, i64, i64)> {
    let end = text.iter().position(|byte| byte.eq_ignore_ascii_case(&mark));
    let (number, exponent) = match end {
        Some(end) => (&text[..end], read_exponent(&text[end + 1..])?),
        None => (text, 0),
    };
    let point = number.iter().position(|byte| *byte == b'.');
    let (whole, fraction) = match point {
        Some(point) => (&number[..point], &number[point + 1..]),
        None => (number, b"".as_slice()),
    };
    let digits = [whole, fraction].concat();
    let good = !digits.is_empty() && digits.iter().all(|byte| char::from(*byte).is_digit(radix));
    good.then_some((digits, fraction.len() as i64, exponent))
}

fn read_exponent(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let value = digits
        .iter()
        .fold(0i64, |value, byte| (value * 10 + i64::from(byte - b'0')).min(EXPONENT_CLAMP));
    Some(if negative { -value } else { value })
}

/// A finite number that the text stands for; None where it is none, is too large, or so small that it would be 0.
fn read_decimal(text: &[u8]) -> Option<(BigUint, i64)> {
    let (digits, behind, exponent) = split(text, 10, b'e')?;
    let number = BigUint::parse_bytes(&digits, 10)?;
    if number == BigUint::ZERO {
        return Some((number, 0));
    }
    let exponent = exponent - behind;
    let magnitude = exponent + digits.len() as i64;
    let leading = digits.iter().take_while(|digit| **digit == b'0').count() as i64;
    // Powers of ten the format comes nowhere near are not computed.
    if magnitude - leading > 5_000 || magnitude - leading < -5_000 {
        return None;
    }
    let power = BigUint::from(10u8).pow(u32::try_from(exponent.unsigned_abs()).ok()?);
    let rounded = if exponent >= 0 {
        round(number * power, 0, false)
    } else {
        // So many more bits that the quotient has two beyond the precision; what is cut off below them only has to be
        // known to be there.
        let more = (power.bits() + PRECISION + 2).saturating_sub(number.bits());
        let scaled = number << more;
        let quotient = &scaled / &power;
        let sticky = &quotient * &power != scaled;
        round(quotient, -i64::try_from(more).ok()?, sticky)
    };
    rounded.filter(|(significand, _)| *significand != BigUint::ZERO)
}

/// As [`read_decimal`], of what follows `0x`: hexadecimal digits and a binary exponent.
fn read_hexadecimal(text: &[u8]) -> Option<(BigUint, i64)> {
    let (digits, behind, exponent) = split(text, 16, b'p')?;
    let number = BigUint::parse_bytes(&digits, 16)?;
    if number == BigUint::ZERO {
        return Some((number, 0));
    }
    let rounded = round(number, exponent - 4 * behind, false);
    rounded.filter(|(significand, _)| *significand != BigUint::ZERO)
}

fn print(negative: bool, significand: &BigUint, exponent: i64) -> Vec<u8> {
    let scaled = significand * BigUint::from(10u8).pow(FRACTION_DIGITS);
    let number = match u64::try_from(exponent) {
        Ok(up) => scaled << up,
        Err(_) => divide_rounded(&scaled, exponent.unsigned_abs(), false),
    };
    let digits = number.to_string();
    let width = FRACTION_DIGITS as usize + 1;
    let digits = format!("{digits:0>width$}");
    let (whole, fraction) = digits.split_at(digits.len() - FRACTION_DIGITS as usize);
    let fraction = fraction.trim_end_matches('0');
    let sign = if negative && number != BigUint::ZERO { "-" } else { "" };
    let point = if fraction.is_empty() { "" } else { "." };
    format!("{sign}{whole}{point}{fraction}").into_bytes()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sum(value: &str, by: &str) -> String {
        match add(value.as_bytes(), by.as_bytes()) {
            Ok(text) => String::from_utf8(text).expect("digits"),
            Err(error) => format!("{error:?}"),
        }
    }

    /// Answers of redis-server 7.0 on x86-64.
    #[test]
    fn sums_are_those_of_redis() {
        let vectors = [
            ("10.5", "0.1", "10.6"),
            ("5.0e3", "2.0e2", "5200"),
            ("0", "1e-3", "0.001"),
            ("17", "0x10", "33"),
            ("3", "1.1", "4.1"),
            ("0.1", "0.2", "0.3"),
            ("1", "-1", "0"),
            ("-1", "0.5", "-0.5"),
            ("0", "-1e-18", "0"),
            ("0", "abc", "NotFloat"),
            ("", "1", "NotFloat"),
            ("1", "nan", "NotFloat"),
            ("1", "1e5000", "NotFloat"),
            ("1", "1e-5000", "NotFloat"),
            ("1", "inf", "NotFinite"),
            ("-inf", "1", "NotFinite"),
            ("1.1e4932", "1.1e4932", "NotFinite"),
            (" 1", "1", "NotFloat"),
            ("1 ", "1", "NotFloat"),
            ("0x", "1", "NotFloat"),
            (".", "1", "NotFloat"),
            ("1e", "1", "NotFloat"),
            (".5", "5.", "5.5"),
            ("1e99999999999999999999", "1", "NotFloat"),
            ("0e99999999999999999999", "1", "1"),
        ];
        for (value, by, want) in vectors {
            assert_eq!(sum(value, by), want, "{value} + {by}");
        }
    }

    proptest! {
        #[test]
        fn whole_numbers_add_exactly(a in -(1i64 << 62)..1 << 62, b in -(1i64 << 62)..1 << 62) {
            prop_assert_eq!(sum(&a.to_string(), &b.to_string()), (a + b).to_string());
        }

        #[test]
        fn a_sum_does_not_depend_on_the_order(a in "-?[0-9]{1,20}(\\.[0-9]{0,25})?(e-?[0-9]{1,4})?", b in "-?[0-9]{1,20}(\\.[0-9]{0,25})?") {
            prop_assert_eq!(sum(&a, &b), sum(&b, &a));
        }

        #[test]
        fn anything_is_answered(a in proptest::collection::vec(any::<u8>(), 0..40), b in "[-+0-9.exXpPaf]{0,20}") {
            let (one, other) = (add(&a, b.as_bytes()), add(b.as_bytes(), &a));
            prop_assert_eq!(one.is_ok(), other.is_ok());
        }
    }
}

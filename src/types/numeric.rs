//! PostgreSQL's binary NUMERIC, to and from [`BigDecimal`].
//!
//! The form (see `numeric_send` in PostgreSQL's `numeric.c`): four 16-bit words (number of digits,
//! weight of the first, sign, display scale), then base-10,000 digits. Every NUMERIC of this schema
//! has at most 20 decimal digits, so its digits fit one `i128`: decoding that way costs a fraction of
//! the general, big-integer one.

use bigdecimal::BigDecimal;
use bigdecimal::num_bigint::{BigInt, BigUint, Sign};

const NEGATIVE: u16 = 0x4000;
/// NaN (0xC000) and the infinities (0xD000, 0xF000) share these bits.
const SPECIAL: u16 = 0xC000;
const BASE: u32 = 10_000;
/// Base-10,000 digits that surely fit a `u128` (10^36 < 2^128).
const FAST_DIGITS: usize = 9;
/// As many surely fit a `u64`, whatever the words hold.
const NARROW_DIGITS: usize = 4;

/// Decodes a NUMERIC; its scale is the column's. `None` for NaN, infinities and malformed bytes.
pub(crate) fn decode(bytes: &[u8]) -> Option<BigDecimal> {
    let (header, digits) = bytes.split_at_checked(8)?;
    let word = |i: usize| u16::from_be_bytes([header[2 * i], header[2 * i + 1]]);
    let (count, weight, sign, scale) = (usize::from(word(0)), word(1) as i16, word(2), word(3));
    if sign & SPECIAL == SPECIAL || digits.len() != 2 * count {
        return None;
    }
    let digits = digits.chunks_exact(2).map(|d| u16::from_be_bytes([d[0], d[1]]));
    let magnitude = if count <= FAST_DIGITS {
        BigUint::from(digits.fold(0u128, |n, d| n * u128::from(BASE) + u128::from(d)))
    } else {
        digits.fold(BigUint::default(), |n, d| n * BASE + u32::from(d))
    };
    let sign = if sign == NEGATIVE { Sign::Minus } else { Sign::Plus };
    // The last digit stands at 10000^(weight - count + 1).
    let exponent = 4 * (i64::from(weight) - count as i64 + 1);
    let value = BigDecimal::new(BigInt::from_biguint(sign, magnitude), -exponent);
    Some(value.with_scale(i64::from(scale)))
}

/// A NUMERIC of at most [`FAST_DIGITS`] base-10,000 digits: its sign, and the magnitude as an integer
/// times a power of ten.
struct Small {
    negative: bool,
    magnitude: u128,
    exponent: i32,
}

fn small(bytes: &[u8]) -> Option<Small> {
    let (header, digits) = bytes.split_first_chunk::<8>()?;
    let count = usize::from(u16::from_be_bytes([header[0], header[1]]));
    let weight = i16::from_be_bytes([header[2], header[3]]);
    let sign = u16::from_be_bytes([header[4], header[5]]);
    if count > FAST_DIGITS || sign & SPECIAL == SPECIAL || digits.len() != 2 * count {
        return None;
    }
    let digits = digits.chunks_exact(2).map(|d| u16::from_be_bytes([d[0], d[1]]));
    // Half as wide where that is enough: of 128 bits, a product is several.
    let magnitude = if count <= NARROW_DIGITS {
        u128::from(digits.fold(0u64, |n, d| n * u64::from(BASE) + u64::from(d)))
    } else {
        digits.fold(0u128, |n, d| n * u128::from(BASE) + u128::from(d))
    };
    let exponent = 4 * (i32::from(weight) - count as i32 + 1);
    Some(Small { negative: sign == NEGATIVE, magnitude, exponent })
}

/// The powers of ten that a `u128` holds.
const POWERS: [u128; 39] = {
    let mut powers = [1; 39];
    let mut i = 1;
    while i < powers.len() {
        powers[i] = 10 * powers[i - 1];
        i += 1;
    }
    powers
};

/// Ten to the power of |`exponent`|, if it fits.
fn power(exponent: i64) -> Option<u128> {
    POWERS.get(usize::try_from(exponent.unsigned_abs()).ok()?).copied()
}

/// The integers up to here, and the powers of ten below, are exact as `f64`.
const EXACT: u128 = 1 << 53;
const TENS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
    1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
];

/// Decodes a NUMERIC as the nearest `f64`, as its decimal text would be parsed. `None` for NaN,
/// infinities and malformed bytes.
pub(crate) fn decode_f64(bytes: &[u8]) -> Option<f64> {
    let Some(Small { negative, mut magnitude, mut exponent }) = small(bytes) else {
        let value = decode(bytes)?;
        let (unscaled, scale) = value.as_bigint_and_exponent();
        return format!("{unscaled}e{}", -scale).parse().ok();
    };
    // Digits come in fours: up to three zeros at the end are worth nothing.
    while magnitude > EXACT && magnitude % 10 == 0 {
        magnitude /= 10;
        exponent += 1;
    }
    let absolute = match TENS.get(exponent.unsigned_abs() as usize) {
        // Of two exact operands, one operation rounds once.
        Some(power) if magnitude <= EXACT && exponent < 0 => magnitude as u64 as f64 / power,
        Some(power) if magnitude <= EXACT => magnitude as u64 as f64 * power,
        _ => format!("{magnitude}e{exponent}").parse().ok()?,
    };
    Some(if negative { -absolute } else { absolute })
}

/// Decodes a NUMERIC as an integer of units of 10^-`scale`. `None` where it has more decimals, does not
/// fit, or is not a number.
pub(crate) fn decode_scaled(bytes: &[u8], scale: u8) -> Option<i128> {
    let Small { negative, magnitude, exponent } = small(bytes)?;
    let exponent = exponent + i32::from(scale);
    let magnitude = if magnitude == 0 {
        0
    } else if exponent >= 0 {
        magnitude.checked_mul(power(exponent.into())?)?
    } else {
        let divisor = power(exponent.into())?;
        (magnitude % divisor == 0).then_some(magnitude / divisor)?
    };
    let value = i128::try_from(magnitude).ok()?;
    Some(if negative { -value } else { value })
}

/// `value` as an integer of units of 10^-`scale`, as [`decode_scaled`] gives it.
pub(crate) fn scaled(value: &BigDecimal, scale: u8) -> Option<i128> {
    let (integer, own_scale) = value.as_bigint_and_scale();
    let integer = i128::try_from(integer.as_ref()).ok()?;
    let more = i64::from(scale) - own_scale;
    let power = i128::try_from(power(more)?).ok()?;
    if more >= 0 {
        integer.checked_mul(power)
    } else {
        (integer % power == 0).then_some(integer / power)
    }
}

/// Base-10,000 digits of the largest `u128`.
const MOST_DIGITS: usize = 10;

/// Appends the binary NUMERIC of `value`, whose digits after the point must number at most 16,383.
pub(crate) fn encode(value: &BigDecimal, out: &mut Vec<u8>) {
    let (integer, exponent) = value.as_bigint_and_scale();
    // Digits are counted in fours from the point: fill the last group up with zeros.
    let scale = exponent.max(0);
    let padding = if exponent < 0 { exponent.unsigned_abs() } else { (4 - scale % 4) as u64 % 4 };
    let padding = u32::try_from(padding).unwrap_or(u32::MAX);
    let groups_after_point = (scale + 3) / 4;
    let is_negative = integer.sign() == Sign::Minus;
    let small = u128::try_from(integer.magnitude()).ok();
    let small = small.and_then(|small| small.checked_mul(power(padding.into())?));
    if let Some(mut rest) = small {
        let mut digits = [0; MOST_DIGITS];
        let mut first = MOST_DIGITS;
        let mut push = |digit: u16| {
            first -= 1;
            digits[first] = digit;
        };
        // The division of 64 bits is an instruction, that of 128 a function.
        while rest > u128::from(u64::MAX) {
            push((rest % u128::from(BASE)) as u16);
            rest /= u128::from(BASE);
        }
        let mut rest = rest as u64;
        while rest > 0 {
            push((rest % u64::from(BASE)) as u16);
            rest /= u64::from(BASE);
        }
        return write(is_negative, &digits[first..], groups_after_point, scale, out);
    }
    // `to_radix_le` goes up to base 256: divide by hand.
    let (mut rest, base) =
        (integer.magnitude() * BigUint::from(10u8).pow(padding), BigUint::from(BASE));
    let mut digits = Vec::new();
    while rest > BigUint::default() {
        let digit = &rest % &base;
        digits.push(digit.iter_u32_digits().next().unwrap_or(0) as u16);
        rest /= &base;
    }
    digits.reverse();
    write(is_negative, &digits, groups_after_point, scale, out);
}

/// Writes base-10,000 digits; the first one is not zero.
fn write(
    is_negative: bool,
    digits: &[u16],
    groups_after_point: i64,
    scale: i64,
    out: &mut Vec<u8>,
) {
    let weight = digits.len() as i64 - 1 - groups_after_point;
    let zeros = digits.iter().rev().take_while(|digit| **digit == 0).count();
    let digits = &digits[..digits.len() - zeros];
    let sign = if is_negative { NEGATIVE } else { 0 };
    let weight = if digits.is_empty() { 0 } else { weight };
    out.extend_from_slice(&(digits.len() as u16).to_be_bytes());
    out.extend_from_slice(&(weight as i16).to_be_bytes());
    out.extend_from_slice(&sign.to_be_bytes());
    out.extend_from_slice(&(scale as u16).to_be_bytes());
    for digit in digits {
        out.extend_from_slice(&digit.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::random::Random;

    #[test]
    fn every_form_survives_the_round_trip() {
        for text in [
            "0",
            "0.0000",
            "1",
            "-1",
            "10",
            "9999",
            "10000",
            "10001",
            "123456789.987654321",
            "0.0001",
            "0.00001",
            "-0.000051",
            "1e12",
            "-1e-10",
            "9999999999.9999999999",
            "100",
            "1.50",
            "123456789012345678901234567890.1234567890123456789",
        ] {
            let value: BigDecimal = text.parse().expect("a number");
            let mut bytes = Vec::new();
            encode(&value, &mut bytes);
            assert_eq!(decode(&bytes).as_ref(), Some(&value), "{text}");
        }
    }

    fn encoded(value: &BigDecimal) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode(value, &mut bytes);
        bytes
    }

    /// Enough for every path of the decoding, many times.
    const CASES: usize = 20_000;

    #[test]
    fn floats_are_the_nearest() {
        let mut random = Random::new(1);
        for _ in 0..CASES {
            let unscaled = random.wide() % 10i128.pow(random.below(38) as u32);
            let scale = random.below(24) as i64;
            let value = BigDecimal::new(BigInt::from(unscaled), scale);
            let text = format!("{unscaled}e-{scale}");
            let parsed: f64 = text.parse().expect("a number");
            assert_eq!(decode_f64(&encoded(&value)), Some(parsed), "{text}");
        }
    }

    #[test]
    fn scaled_integers_are_exact() {
        let mut random = Random::new(2);
        for _ in 0..CASES {
            let zeros = 10i128.pow(random.below(10) as u32);
            let unscaled = random.wide() % 10i128.pow(20) / zeros * zeros;
            let value = BigDecimal::new(BigInt::from(unscaled), 10);
            assert_eq!(decode_scaled(&encoded(&value), 10), Some(unscaled));
        }
    }

    #[test]
    fn no_bytes_make_decoding_panic() {
        let mut random = Random::new(3);
        for _ in 0..CASES {
            let mut bytes = [0; 24];
            bytes.fill_with(|| random.bits() as u8);
            // Also such as say how many digits follow.
            let length = random.below(25);
            if random.below(2) == 0 && length >= 8 {
                bytes[..2].copy_from_slice(&((length as u16 - 8) / 2).to_be_bytes());
            }
            let bytes = &bytes[..length];
            let _ = (decode_f64(bytes), decode_scaled(bytes, 10));
        }
    }

    #[test]
    fn a_scaled_integer_has_no_room_for_more_decimals() {
        let decode = |text: &str| decode_scaled(&encoded(&text.parse().expect("a number")), 10);
        assert_eq!(decode("9999999999.9999999999"), Some(10i128.pow(20) - 1));
        assert_eq!(decode("-0.0000000001"), Some(-1));
        assert_eq!(decode("0.00000000001"), None);
        assert_eq!(decode("1e30"), None);
    }

    #[test]
    fn nan_infinity_and_damage_are_refused() {
        for sign in [0xC000u16, 0xD000, 0xF000] {
            let mut bytes = vec![0u8; 8];
            bytes[4..6].copy_from_slice(&sign.to_be_bytes());
            assert_eq!(decode(&bytes), None);
            assert_eq!((decode_f64(&bytes), decode_scaled(&bytes, 10)), (None, None));
        }
        assert_eq!(decode(&[0, 1, 0, 0]), None);
        assert_eq!(decode(&[0, 2, 0, 0, 0, 0, 0, 0, 0, 1]), None);
    }
}

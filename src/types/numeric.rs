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

/// Appends the binary NUMERIC of `value`, whose digits after the point must number at most 16,383.
pub(crate) fn encode(value: &BigDecimal, out: &mut Vec<u8>) {
    let (integer, scale) = value.as_bigint_and_exponent();
    // Digits are counted in fours from the point: fill the last group up with zeros.
    let scale = scale.max(0);
    let padding = (4 - scale % 4) % 4;
    let integer = match value.as_bigint_and_exponent().1 {
        exponent if exponent < 0 => integer * BigInt::from(10).pow(exponent.unsigned_abs() as u32),
        _ => integer * BigInt::from(10).pow(padding as u32),
    };
    let groups_after_point = (scale + 3) / 4;
    let (sign, magnitude) = integer.into_parts();
    let mut digits: Vec<u16> = match u128::try_from(&magnitude) {
        Ok(mut rest) => std::iter::from_fn(|| {
            (rest > 0).then(|| {
                let digit = (rest % u128::from(BASE)) as u16;
                rest /= u128::from(BASE);
                digit
            })
        })
        .collect(),
        // `to_radix_le` goes up to base 256: divide by hand.
        Err(_) => {
            let (mut rest, base) = (magnitude, BigUint::from(BASE));
            let mut digits = Vec::new();
            while rest > BigUint::default() {
                let digit = &rest % &base;
                digits.push(digit.iter_u32_digits().next().unwrap_or(0) as u16);
                rest /= &base;
            }
            digits
        }
    };
    digits.reverse();
    let weight = digits.len() as i64 - 1 - groups_after_point;
    while digits.last() == Some(&0) {
        digits.pop();
    }
    let sign = if sign == Sign::Minus { NEGATIVE } else { 0 };
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

    #[test]
    fn nan_infinity_and_damage_are_refused() {
        for sign in [0xC000u16, 0xD000, 0xF000] {
            let mut bytes = vec![0u8; 8];
            bytes[4..6].copy_from_slice(&sign.to_be_bytes());
            assert_eq!(decode(&bytes), None);
        }
        assert_eq!(decode(&[0, 1, 0, 0]), None);
        assert_eq!(decode(&[0, 2, 0, 0, 0, 0, 0, 0, 0, 1]), None);
    }
}

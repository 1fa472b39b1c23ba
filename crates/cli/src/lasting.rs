//! Lengths of time as people write them.

use std::time::Duration;

/// Reads `500ms`, `10s`, `20m` or `4h`; a number alone is seconds.
///
/// # Errors
/// In words, with what is expected.
pub fn parse(text: &str) -> Result<Duration, String> {
    let units = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)];
    let unit = units.into_iter().find_map(|(unit, ms)| Some((text.strip_suffix(unit)?, ms)));
    let (number, ms) = unit.unwrap_or((text, 1_000));
    let number = number.parse::<u64>().ok().and_then(|number| number.checked_mul(ms));
    number
        .map(Duration::from_millis)
        .ok_or_else(|| "use a time such as 500ms, 10s, 20m or 4h".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_read_and_nonsense_is_refused() {
        let ms = |text| parse(text).map(|span| span.as_millis());
        for (text, expected) in
            [("500ms", 500), ("10s", 10_000), ("7", 7_000), ("20m", 1_200_000), ("4h", 14_400_000)]
        {
            assert_eq!(ms(text), Ok(expected), "{text}");
        }
        for text in ["", "s", "-1s", "1d", "1.5s", "18446744073709551615h"] {
            assert!(ms(text).is_err(), "{text}");
        }
    }
}

//! How much a split into two explains, in bits, by integers only: the same everywhere, to the last bit.

/// Binary digits behind the point. Sums are over at most 2^32 services, logarithms at most 32: together
/// below 2^62.
const FRACTION: u32 = 24;
/// Digits of the mantissa while it is squared.
const MANTISSA: u32 = 31;

/// The logarithm of `n` to base two, in units of 2^-[`FRACTION`]; 0 of 0, so that 0 log 0 is 0.
fn log2(n: u64) -> i64 {
    let Some(whole) = n.checked_ilog2() else { return 0 };
    let shifted = u128::from(n) << (127 - whole);
    // The mantissa, in [1, 2).
    let mut mantissa = u64::try_from(shifted >> (127 - MANTISSA)).unwrap_or(u64::MAX);
    let mut log = i64::from(whole);
    for _ in 0..FRACTION {
        mantissa = (mantissa * mantissa) >> MANTISSA;
        log <<= 1;
        if mantissa >> (MANTISSA + 1) != 0 {
            mantissa >>= 1;
            log |= 1;
        }
    }
    log
}

fn n_log_n(n: u32) -> i64 {
    i64::from(n) * log2(u64::from(n))
}

/// What it takes to say which `k` of `n` it is, by their share alone: `n` times the entropy of `k / n`.
fn entropy(k: u32, n: u32) -> i64 {
    n_log_n(n) - n_log_n(k) - n_log_n(n - k)
}

/// How many bits the split explains: `inside` and `outside` are (failing, all) each.
///
/// It is the logarithm of the likelihood ratio between "each side fails by its own share" and "all fail by
/// one share", to base two. Ten bits: a thousand to one.
pub fn explained(inside: (u32, u32), outside: (u32, u32)) -> u32 {
    let all = (inside.0 + outside.0, inside.1 + outside.1);
    let gain = entropy(all.0, all.1) - entropy(inside.0, inside.1) - entropy(outside.0, outside.1);
    u32::try_from(gain.max(0) >> FRACTION).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logarithms_are_those_of_floating_point() {
        for n in [1_u64, 2, 3, 7, 60, 400, 1_000_000, u64::from(u32::MAX)] {
            #[allow(clippy::cast_precision_loss, reason = "small numbers of a test")]
            let (fixed, float) = (log2(n) as f64 / f64::from(1 << FRACTION), (n as f64).log2());
            assert!((fixed - float).abs() < 1e-6, "log2 {n}: {fixed} against {float}");
        }
        assert_eq!(log2(0), 0);
    }

    #[test]
    fn what_stands_out_more_explains_more() {
        let host = explained((60, 60), (2, 340));
        let zone = explained((60, 180), (2, 220));
        assert!(host > 200 && host > 2 * zone, "{host} {zone}");
        assert_eq!(explained((3, 30), (30, 300)), 0, "equal shares explain nothing");
        assert_eq!(explained((0, 0), (5, 10)), 0);
    }
}

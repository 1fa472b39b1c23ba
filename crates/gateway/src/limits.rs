//! How many descriptors the process may have open, and so how many connections there can be.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors that are not connections: the stream, files, and one listener for each service. Where
/// there are more services and the limit is low, accepting pauses until connections end.
const RESERVED: u64 = 256;

/// Raises the soft limit of open files to the hard one, and returns it; `None` is no limit.
pub(crate) fn raise() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    let wanted = Rlimit { current: limit.maximum, maximum: limit.maximum };
    match setrlimit(Resource::Nofile, wanted) {
        Ok(()) => limit.maximum,
        Err(error) => {
            tracing::warn!(%error, limit = ?limit.current, "cannot raise the limit of open files");
            limit.current
        }
    }
}

/// How many connections fit: each needs two descriptors, its client's and its server's.
pub(crate) fn connections(wanted: usize, open_files: Option<u64>) -> u32 {
    // More than a semaphore counts is more than a machine has ports.
    let wanted = u32::try_from(wanted).unwrap_or(u32::MAX).clamp(1, 1 << 28);
    let Some(open_files) = open_files else { return wanted };
    let fit = (open_files.saturating_sub(RESERVED) / 2).max(1);
    let fit = u32::try_from(fit).unwrap_or(u32::MAX);
    if fit < wanted {
        tracing::warn!(wanted, fit, open_files, "the limit of open files allows fewer connections");
    }
    wanted.min(fit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_fit_into_the_open_files() {
        let rows = [
            (20_000, None, 20_000),
            (20_000, Some(1 << 20), 20_000),
            (20_000, Some(20_000), 9_872),
            (20_000, Some(10), 1),
            (0, None, 1),
        ];
        for (wanted, open_files, expected) in rows {
            assert_eq!(connections(wanted, open_files), expected, "{wanted} {open_files:?}");
        }
    }

    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        let raised = raise();
        assert_eq!(getrlimit(Resource::Nofile).current, raised);
        assert_eq!(getrlimit(Resource::Nofile).maximum, raised);
    }
}

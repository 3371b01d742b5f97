//! File descriptors: each connection takes one, and systems allow a process 1,024 unless it asks for
//! more.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors for all that is no connection: listeners, the store, bridges, the system's own.
const OTHERS: u64 = 64;

/// Asks for as many descriptors as `connections_max` needs. What is allowed after that, where it is
/// fewer connections than that.
pub(crate) fn raise(connections_max: u32) -> Result<(), u64> {
    let wanted = u64::from(connections_max) + OTHERS;
    let limit = getrlimit(Resource::Nofile);
    let Some(current) = limit.current.filter(|current| *current < wanted) else { return Ok(()) };
    let raised = limit.maximum.map_or(wanted, |maximum| maximum.min(wanted)).max(current);
    let asked = Rlimit { current: Some(raised), maximum: limit.maximum };
    let allowed = if setrlimit(Resource::Nofile, asked).is_ok() { raised } else { current };
    if allowed < wanted { Err(allowed.saturating_sub(OTHERS)) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_allowed_is_taken_and_a_shortfall_is_told() {
        let before = getrlimit(Resource::Nofile);
        let few = u32::try_from(before.current.unwrap_or(1_024)).unwrap_or(1_024) / 2;
        assert_eq!(raise(few), Ok(()));
        assert_eq!(getrlimit(Resource::Nofile).current, before.current);
        if let Some(maximum) = before.maximum.filter(|maximum| *maximum < u64::from(u32::MAX)) {
            assert_eq!(raise(u32::MAX), Err(maximum - OTHERS));
        }
    }
}

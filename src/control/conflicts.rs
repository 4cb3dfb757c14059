//! Others that claim an address of a port of ours.

use std::collections::BTreeMap;
use std::time::Duration;

use super::neighbours::Neighbour;

/// Who goes on claiming an address is told of once in so long.
const AGAIN: Duration = Duration::from_secs(60);

/// The addresses that others were found to claim, and when that was told last: no more than the ports have, and have had.
#[derive(Default)]
pub(super) struct Conflicts {
    told: BTreeMap<Neighbour, Duration>,
}

impl Conflicts {
    /// Whether it is to be told that somebody claims the address.
    pub(super) fn is_news(&mut self, claimed: Neighbour, now: Duration) -> bool {
        let is_news = self.told.get(&claimed).is_none_or(|told| now >= *told + AGAIN);
        if is_news {
            self.told.insert(claimed, now);
        }
        is_news
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::PortId;

    #[test]
    fn a_conflict_is_told_once_a_minute() {
        let claimed = |number: u8| (PortId(0), [10, 0, 0, number].into());
        let mut conflicts = Conflicts::default();
        let at = Duration::from_secs;
        let told: Vec<u64> = (0..130).filter(|second| conflicts.is_news(claimed(1), at(*second))).collect();
        assert_eq!(told, [0, 60, 120]);
        assert!(conflicts.is_news(claimed(2), at(129)), "another one");
        assert!(!conflicts.is_news(claimed(2), at(130)));
    }
}

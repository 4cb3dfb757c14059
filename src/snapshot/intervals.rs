//! Which of two sets an address is in: the line of all addresses, cut where the answer changes, with an index that leads
//! to the right cut in a look or two. The cuts take one word each and the index two at most, whatever the networks
//! were; where they lie close together, a cell of the index has one of its own.

use std::ops::Sub;

/// An address as a number.
pub(super) trait Number: Copy + Ord + Sub<Output = Self> {
    /// This, without its lower bits; more than any index has cells where it is too large for a position.
    fn position(self, shift: u32) -> usize;
    /// Bits up to the highest that is set.
    fn bits(self) -> u32;
    /// The next one, if there is any.
    fn next(self) -> Option<Self>;
}

macro_rules! number {
    ($($kind:ty),*) => {
        $(impl Number for $kind {
            #[inline(always)]
            fn position(self, shift: u32) -> usize {
                usize::try_from(self >> shift).unwrap_or(usize::MAX)
            }

            fn bits(self) -> u32 {
                Self::BITS - self.leading_zeros()
            }

            fn next(self) -> Option<Self> {
                self.checked_add(1)
            }
        })*
    };
}

number!(u32, u128);

/// A set of addresses.
#[derive(Debug)]
pub(super) struct Intervals<T> {
    /// Whether addresses before the first cut are in.
    first: bool,
    /// Where the answer changes, upward.
    cuts: Box<[T]>,
    nodes: Box<[Node<T>]>,
    cells: Box<[Cell]>,
}

/// An index of some neighbouring cuts.
#[derive(Clone, Copy, Debug)]
struct Node<T> {
    /// The first of these cuts.
    low: T,
    /// Bits that are not looked at.
    shift: u32,
    /// Where its cells begin, and how many there are.
    cells: (u32, u32),
    /// The positions of these cuts.
    cuts: (u32, u32),
}

#[derive(Clone, Copy, Debug)]
enum Cell {
    /// The position of the first cut here, and how many there are.
    Cuts(u32, u32),
    /// Too many to look at one by one.
    Node(u32),
}

/// Cuts that are looked at one by one.
const CUTS_MAX: usize = 4;
/// Indices within indices; beyond, cuts are found by halving.
const DEPTH_MAX: usize = 3;
const CELLS_BITS_MAX: u32 = 16;

/// One network, and what holds for its addresses where no rule before says otherwise.
#[derive(Clone, Copy, Debug)]
pub(super) struct Network<T> {
    pub(super) first: T,
    pub(super) last: T,
    /// Whether it is in.
    pub(super) is_in: bool,
}

impl<T: Number> Intervals<T> {
    /// Of networks of which the first that has an address decides; `others` says it where none does. Any two of them are
    /// apart, or one has all of the other.
    pub(super) fn new(networks: &[Network<T>], others: bool) -> Self {
        let cuts = cuts(networks, others);
        let mut index = Index { cuts: &cuts, nodes: Vec::new(), cells: Vec::new() };
        if !cuts.is_empty() {
            index.add(0, cuts.len(), 0);
        }
        let Index { nodes, cells, .. } = index;
        Self { first: others, nodes: nodes.into(), cells: cells.into(), cuts: cuts.into() }
    }

    /// Whether `address` is in.
    #[inline]
    pub(super) fn contains(&self, address: T) -> bool {
        // At every cut it changes.
        self.first ^ (self.position(address) & 1 == 1)
    }

    /// How many cuts there are up to `address`.
    #[inline]
    fn position(&self, address: T) -> usize {
        let Some(mut node) = self.nodes.first() else { return 0 };
        loop {
            if address < node.low {
                return node.cuts.0 as usize;
            }
            let at = (address - node.low).position(node.shift);
            if at >= node.cells.1 as usize {
                return node.cuts.1 as usize;
            }
            match self.cells.get(node.cells.0 as usize + at) {
                Some(Cell::Node(inner)) => match self.nodes.get(*inner as usize) {
                    Some(inner) => node = inner,
                    None => return 0,
                },
                Some(Cell::Cuts(first, count)) => {
                    let (first, count) = (*first as usize, *count as usize);
                    let cuts = self.cuts.get(first..first + count).unwrap_or_default();
                    let before = if count <= CUTS_MAX {
                        cuts.iter().filter(|cut| **cut <= address).count()
                    } else {
                        cuts.partition_point(|cut| *cut <= address)
                    };
                    return first + before;
                }
                None => return 0,
            }
        }
    }

    /// Bytes that it takes.
    #[cfg(test)]
    fn bytes(&self) -> usize {
        size_of_val(&*self.cuts) + size_of_val(&*self.cells) + size_of_val(&*self.nodes)
    }
}

/// Where the answer changes.
fn cuts<T: Number>(networks: &[Network<T>], others: bool) -> Vec<T> {
    let mut order: Vec<usize> = (0..networks.len()).collect();
    let network = |index: usize| networks.get(index);
    // Those that begin together from the widest on.
    order.sort_by_key(|index| network(*index).map(|one| (one.first, std::cmp::Reverse(one.last))));
    let mut cuts = Cuts { last: others, at: Vec::with_capacity(2 * networks.len()) };
    // The networks that we are in, the innermost last: where it ends, and which rule decides there.
    let mut open: Vec<(T, usize)> = Vec::new();
    let answer = |open: &[(T, usize)]| {
        open.last().and_then(|(_, rule)| network(*rule)).map_or(others, |one| one.is_in)
    };
    for index in order {
        let Some(one) = network(index) else { continue };
        while let Some((last, _)) = open.pop_if(|(last, _)| *last < one.first) {
            if let Some(next) = last.next() {
                cuts.set(next, answer(&open));
            }
        }
        // A network around it that comes before it in the list has decided already.
        let rule = open.last().map_or(index, |(_, outer)| index.min(*outer));
        open.push((one.last, rule));
        cuts.set(one.first, answer(&open));
    }
    while let Some((last, _)) = open.pop() {
        if let Some(next) = last.next() {
            cuts.set(next, answer(&open));
        }
    }
    cuts.at.into_iter().map(|(at, _)| at).collect()
}

/// Answers from an address on, upward; neighbours differ.
struct Cuts<T> {
    /// Before the first.
    last: bool,
    at: Vec<(T, bool)>,
}

impl<T: Number> Cuts<T> {
    /// From `from` on the answer is `is_in`; what was said of the same place is void.
    fn set(&mut self, from: T, is_in: bool) {
        self.at.pop_if(|(at, _)| *at == from);
        let before = self.at.last().map_or(self.last, |(_, is_in)| *is_in);
        if before != is_in {
            self.at.push((from, is_in));
        }
    }
}

struct Index<'c, T> {
    cuts: &'c [T],
    nodes: Vec<Node<T>>,
    cells: Vec<Cell>,
}

impl<T: Number> Index<'_, T> {
    /// Adds a node for these cuts; its number.
    fn add(&mut self, first: usize, end: usize, depth: usize) -> u32 {
        let cuts = self.cuts.get(first..end).unwrap_or_default();
        let (Some(low), Some(high)) = (cuts.first().copied(), cuts.last().copied()) else { return 0 };
        let cell_bits = cuts.len().next_power_of_two().ilog2().min(CELLS_BITS_MAX);
        let shift = (high - low).bits().saturating_sub(cell_bits);
        let count = (high - low).position(shift) + 1;
        let (number, at) = (self.nodes.len(), self.cells.len());
        let cells = (at as u32, count as u32);
        self.nodes.push(Node { low, shift, cells, cuts: (first as u32, end as u32) });
        self.cells.resize(at + count, Cell::Cuts(first as u32, 0));
        let mut start = first;
        for cell in 0..count {
            let rest = self.cuts.get(start..end).unwrap_or_default();
            let here = rest.iter().take_while(|cut| (**cut - low).position(shift) == cell).count();
            let made = if here <= CUTS_MAX || depth == DEPTH_MAX || shift == 0 {
                Cell::Cuts(start as u32, here as u32)
            } else {
                Cell::Node(self.add(start, start + here, depth + 1))
            };
            if let Some(place) = self.cells.get_mut(at + cell) {
                *place = made;
            }
            start += here;
        }
        number as u32
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use proptest::prelude::*;

    use super::*;

    fn v4(address: u32, len: u32, is_in: bool) -> Network<u32> {
        let mask = u32::MAX.checked_shl(32 - len).unwrap_or(0);
        Network { first: address & mask, last: address | !mask, is_in }
    }

    fn by_looking<T: Number>(networks: &[Network<T>], others: bool, address: T) -> bool {
        let first = networks.iter().find(|one| one.first <= address && address <= one.last);
        first.map_or(others, |one| one.is_in)
    }

    fn networks() -> impl Strategy<Value = Vec<Network<u32>>> {
        // Close together, so that they are in each other.
        let near = (0u32..64, 24u32..=32, any::<bool>()).prop_map(|(a, len, is_in)| v4(a << 4, len, is_in));
        let any_one = (any::<u32>(), 0u32..=32, any::<bool>()).prop_map(|(a, len, is_in)| v4(a, len, is_in));
        let high =
            (0u32..64, 20u32..=32, any::<bool>()).prop_map(|(a, len, is_in)| v4(u32::MAX - a, len, is_in));
        prop::collection::vec(prop_oneof![4 => near, 1 => any_one, 2 => high], 0..60)
    }

    proptest! {
        #[test]
        fn the_first_network_that_has_an_address_decides(all in networks(), others: bool, some: Vec<u32>) {
            let made = Intervals::new(&all, others);
            let ends = all.iter().flat_map(|one| {
                [one.first, one.last, one.first.wrapping_sub(1), one.last.wrapping_add(1)]
            });
            for address in ends.chain(some).chain([0, u32::MAX]) {
                prop_assert_eq!(made.contains(address), by_looking(&all, others, address), "{}", address);
            }
        }

        #[test]
        fn the_same_in_ipv6(all in prop::collection::vec((any::<u128>(), 0u32..=128, any::<bool>()), 0..200), some: Vec<u128>) {
            let of = |(address, len, is_in): &(u128, u32, bool)| {
                let mask = u128::MAX.checked_shl(128 - len).unwrap_or(0);
                // Most of them near each other.
                let address = if len % 4 == 0 { *address } else { address >> 90 };
                Network { first: address & mask, last: address | !mask, is_in: *is_in }
            };
            let all: Vec<Network<u128>> = all.iter().map(of).collect();
            let made = Intervals::new(&all, false);
            let ends = all.iter().flat_map(|one| [one.first, one.last, one.last.wrapping_add(1)]);
            for address in ends.chain(some).chain([0, u128::MAX]) {
                prop_assert_eq!(made.contains(address), by_looking(&all, false, address));
            }
        }
    }

    /// Numbers without a pattern.
    fn scattered(n: u64) -> u64 {
        n.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29).wrapping_mul(0xbf58_476d_1ce4_e5b9)
    }

    #[test]
    fn the_largest_lists_are_made_soon_and_take_bounded_memory() {
        let spread: Vec<Network<u32>> =
            (0..100_000).map(|n| v4(scattered(n) as u32, 16 + (n % 17) as u32, n % 3 == 0)).collect();
        let narrow: Vec<Network<u32>> = (0..100_000).map(|n| v4(0x0a00_0000 + 2 * n, 32, true)).collect();
        let powers: Vec<Network<u32>> =
            (0..100_000).map(|n| v4(1 << (n % 32) | (n / 32) << 1, 32, true)).collect();
        for all in [spread, narrow, powers] {
            let began = Instant::now();
            let made = Intervals::new(&all, false);
            // Generous: unoptimised, and on a machine that others use.
            assert!(began.elapsed().as_secs() < 10);
            assert!(made.bytes() <= all.len() * 80, "{}", made.bytes());
            for address in (0..20).map(|n| scattered(n) as u32) {
                assert_eq!(made.contains(address), by_looking(&all, false, address));
            }
        }
    }
}

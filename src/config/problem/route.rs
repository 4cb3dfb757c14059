//! Static routes.

use std::fmt;
use std::net::IpAddr;

use crate::config::error::Place;
use crate::config::model::Cidr;

/// A static route against the rest.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RouteProblem {
    /// Two for one network.
    Twice {
        /// The network.
        destination: Cidr,
        /// Where the other is.
        first: Place,
    },
    /// It says again what a port's gateway says.
    BesidesGateway {
        /// All addresses.
        destination: Cidr,
    },
    /// A router of the other family.
    Families {
        /// The network.
        destination: Cidr,
        /// The router.
        via: IpAddr,
    },
    /// A router that no port leads to.
    OffNetwork {
        /// The network.
        destination: Cidr,
        /// The router.
        via: IpAddr,
        /// "on a network of any port".
        wanted: &'static str,
    },
    /// A router that may be on any link.
    NoPort {
        /// The network.
        destination: Cidr,
        /// The router.
        via: IpAddr,
    },
}

impl fmt::Display for RouteProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Twice { destination, first } => {
                write!(f, "{destination} has a route already ({first}); delete one")
            }
            Self::BesidesGateway { destination } => write!(
                f,
                "the route to {destination} has no effect: a port has a gateway; delete one of them"
            ),
            Self::Families { destination, via } => write!(
                f,
                "the route to {destination} goes via {via}, which is of the other family; give it a router of its own"
            ),
            Self::OffNetwork { destination, via, wanted } => write!(
                f,
                "the route to {destination} goes via {via}, which is not {wanted}; correct it, or add an address in \
                 its network to the port"
            ),
            Self::NoPort { destination, via } => write!(
                f,
                "the route to {destination} goes via {via}, which is link-local, so it could be on any port; add \
                 port = \"NAME\""
            ),
        }
    }
}

//! The flags that say what the file can say, shared by all commands that take a configuration.
//!
//! All values are text here: clap would stop at the first that it does not understand, and we report all.

use std::path::PathBuf;

use clap::{Args, ValueHint};

/// Configuration by file, by flags, or by both; flags win.
#[derive(Args, Clone, Default, PartialEq, Eq, Debug)]
#[command(next_help_heading = "Configuration")]
#[allow(rustdoc::broken_intra_doc_links, reason = "they are help texts, and [2001:db8::10] is an address")]
pub struct ConfigFlags {
    /// Read the configuration from this TOML file. Flags win over it.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub config: Option<PathBuf>,

    /// A port: its name, and the PCI address or vdev string of its device, as in
    /// outside=0000:3b:00.0 or outside=net_af_packet0,iface=eth1. Repeat for more ports.
    #[arg(long, value_name = "NAME=DEVICE", help_heading = "Ports")]
    pub port: Vec<String>,

    /// An address of our own on a port, with its network, as in outside=198.51.100.2/24.
    /// Repeat for more; they replace all that the file gives the port.
    #[arg(long, value_name = "NAME=CIDR", help_heading = "Ports")]
    pub address: Vec<String>,

    /// Next hop of a port for IPv4 that is on no connected network, as in outside=198.51.100.1.
    #[arg(long, value_name = "NAME=IP", help_heading = "Ports")]
    pub gateway: Vec<String>,

    /// The same for IPv6, as in outside=2001:db8:1::1. It may be link-local.
    #[arg(long, value_name = "NAME=IP", help_heading = "Ports")]
    pub gateway6: Vec<String>,

    /// VLAN tags of a port's frames, the outer first, as in outside=100 or outside=200,100.
    #[arg(long, value_name = "NAME=TAG[,TAG]", help_heading = "Ports")]
    pub vlan: Vec<String>,

    /// A network beyond a router that is no gateway, as in 10.9.0.0/16=10.0.0.254. A link-local
    /// router takes a port as well: 2001:db8:9::/48=fe80::1,port=inside.
    #[arg(long, value_name = "NETWORK=ROUTER[,port=NAME]", help_heading = "Ports")]
    pub route: Vec<String>,

    /// Ethernet address of a port, instead of the device's own, as in outside=02:00:00:00:00:01.
    #[arg(long, value_name = "NAME=MAC", help_heading = "Ports")]
    pub mac: Vec<String>,

    /// Largest IP packet of a port in bytes, 576 to 9216 [default: 1500].
    #[arg(long, value_name = "NAME=BYTES", help_heading = "Ports")]
    pub mtu: Vec<String>,

    /// A neighbour that is not asked for by ARP or ND, as in 10.0.0.4=02:00:00:00:00:04.
    #[arg(long, value_name = "ADDR=MAC", help_heading = "Ports")]
    pub neighbour: Vec<String>,

    /// What clients use, as in web=203.0.113.10:443/tcp, web=[2001:db8::10]:443/tcp,
    /// web=203.0.113.10:8000-8100/udp or web=203.0.113.0/28:0/any. Makes rule NAME for pool NAME, or
    /// changes the frontend of the file's rule NAME.
    #[arg(long, value_name = "NAME=ADDR:PORT/PROTO", help_heading = "Load balancing")]
    pub frontend: Vec<String>,

    /// A backend of pool NAME, as in web=10.0.0.4:8443,weight=2. Options: weight=0-100
    /// [default: 1], state=auto|up|down|drain, quic_server_id=HEX. A port sets the backend port of rule NAME.
    /// Repeat for more; they replace all that the file gives the pool.
    #[arg(long, value_name = "NAME=ADDR[:PORT][,weight=N]", help_heading = "Load balancing")]
    pub backend: Vec<String>,

    /// The pool of rule NAME, where it is not the one of the same name, as in https=web.
    #[arg(long, value_name = "NAME=POOL", help_heading = "Load balancing")]
    pub pool: Vec<String>,

    /// How packets of rule NAME reach the backend: nat, full-nat, dsr, ipip, gre, gue or vxlan
    /// [default: nat]. Options: source_addresses and client_address (repeat for more),
    /// tunnel_source, tunnel_port, gue_variant, vni, inner_mac.
    #[arg(long, value_name = "NAME=MODE[,OPTION=VALUE]", help_heading = "Load balancing")]
    pub forward: Vec<String>,

    /// Reset both ends of a TCP flow of rule NAME at its idle expiry [default: false].
    #[arg(long, value_name = "NAME=true|false", help_heading = "Load balancing")]
    pub tcp_reset: Vec<String>,

    /// Let backends of rule NAME be its clients and get themselves [default: false].
    #[arg(long, value_name = "NAME=true|false", help_heading = "Load balancing")]
    pub hairpin: Vec<String>,

    /// Answer echo requests to the frontend of rule NAME, according to health [default: true].
    #[arg(long, value_name = "NAME=true|false", help_heading = "Load balancing")]
    pub icmp_echo: Vec<String>,

    /// The most that TCP ends of rule NAME may ask for as their maximum segment size, in bytes; true
    /// takes it from the MTUs [default: false, as they ask].
    #[arg(long, value_name = "NAME=BYTES|true", help_heading = "Load balancing")]
    pub mss_clamp: Vec<String>,

    /// Send QUIC connections of rule NAME to the backend that their connection ids name: quic-lb or
    /// katran. Options: config, server_id_length, nonce_length, key (others can see flags: prefer
    /// the file).
    #[arg(long, value_name = "NAME=KIND[,OPTION=VALUE]", help_heading = "Load balancing")]
    pub quic: Vec<String>,

    /// What of a packet chooses the backend: 5-tuple, source-ip or source-ip-protocol
    /// [default: 5-tuple].
    #[arg(long, value_name = "NAME=MODE", help_heading = "Load balancing")]
    pub distribution: Vec<String>,

    /// Forget a flow of rule NAME after so long without packets, 1s to 24h [default: 4m].
    #[arg(long, value_name = "NAME=DURATION", help_heading = "Load balancing")]
    pub idle_timeout: Vec<String>,

    /// Health check of rule NAME, as in web=http:8081/healthz,interval=5s. Kinds: tcp, http, https.
    /// Options: interval, timeout, rise, fall, host, status, body, verify, ca_file, via.
    #[arg(long, value_name = "NAME=KIND:PORT[/PATH][,interval=DURATION]", help_heading = "Load balancing")]
    pub probe: Vec<String>,

    /// What happens to new flows of rule NAME while no backend is available: drop or all
    /// [default: drop].
    #[arg(long, value_name = "NAME=drop|all", help_heading = "Load balancing")]
    pub no_healthy_backends: Vec<String>,

    /// CPUs of the workers, one each, as in 2-5 or 0,2-5 [default: all but the management CPU].
    #[arg(long, value_name = "CPULIST", help_heading = "Dataplane")]
    pub workers: Option<String>,

    /// CPU of the management thread, 0 to 1023.
    #[arg(long, value_name = "N", help_heading = "Dataplane")]
    pub management_cpu: Option<String>,

    /// Flows one worker keeps, 1024 to 268435456 [default: 1048576].
    #[arg(long, value_name = "N", help_heading = "Dataplane")]
    pub flows_per_worker: Option<String>,

    /// Frames of packet memory in all, 4095 to 16777215 [default: enough for all queues].
    #[arg(long, value_name = "N", help_heading = "Dataplane")]
    pub frames: Option<String>,

    /// What a worker does while nothing arrives: poll, poll more gently, or sleep [default: spin].
    #[arg(long, value_name = "spin|pause|sleep", help_heading = "Dataplane")]
    pub idle: Option<String>,

    /// Key of the hash, 32 hex digits, the same on all nodes. Other users of this machine can
    /// see flags; prefer the file [default: random, kept in the state directory].
    #[arg(long, value_name = "HEX", help_heading = "Dataplane")]
    pub hash_key: Option<String>,

    /// Unix socket of the control API [default: /run/guideway/control.sock].
    #[arg(long, value_name = "PATH", value_hint = ValueHint::FilePath, help_heading = "Control")]
    pub control_socket: Option<String>,

    /// Group of that socket, by name or number [default: the process's].
    #[arg(long, value_name = "GROUP", help_heading = "Control")]
    pub control_socket_group: Option<String>,

    /// Serve the control API over TCP too, on loopback, to who has the token [default: it is not].
    #[arg(long, value_name = "ADDR:PORT", help_heading = "Control")]
    pub control_listen: Option<String>,

    /// Let --control-listen be an address that other machines can reach. The token goes there in
    /// the clear.
    #[arg(long, help_heading = "Control")]
    pub control_listen_anywhere: bool,

    /// File with the token that callers over TCP must show: one line of at least 16 bytes, in a
    /// file that others cannot read.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "Control")]
    pub control_token_file: Option<String>,

    /// Where metrics are served for Prometheus, or off [default: 127.0.0.1:9464].
    #[arg(long, value_name = "ADDR:PORT|off", help_heading = "Control")]
    pub metrics: Option<String>,

    /// Directory for what survives a restart [default: /var/lib/guideway].
    #[arg(long, value_name = "PATH", value_hint = ValueHint::DirPath, help_heading = "Control")]
    pub state_directory: Option<String>,
}

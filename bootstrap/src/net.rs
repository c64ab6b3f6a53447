//! The network: one interface, by DHCP or as configured; address, routes, name servers and no more.

use crate::config::{Cidr, Network};
use crate::refusal::Coded;
use crate::status::write_file;
use ccnode_attest_client::Deadline;
use ccnode_evidence::Code;
use ccnode_protocol::init_data::is_host_address;
use futures_util::{StreamExt as _, TryStreamExt as _};
use mozim::{DhcpV4Client, DhcpV4Config, DhcpV4Lease, DhcpV4State};
use rtnetlink::packet_core::NetlinkPayload;
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags, LinkLayerType, LinkMessage};
use rtnetlink::{Handle, LinkUnspec, MulticastGroup, RouteMessageBuilder, new_multicast_connection};
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::Duration;
use tokio::time::timeout;

/// The wait after a lease that can't be used.
const AGAIN: Duration = Duration::from_millis(500);

/// A network that could not be brought up.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// No interface, or none of the configured name.
    #[error("no network interface `{0}`")]
    Missing(String),
    /// The interface never had a link.
    #[error("{interface} has no link after {seconds} s")]
    NoCarrier {
        /// The interface.
        interface: String,
        /// How long was waited.
        seconds: u64,
    },
    /// Nobody gave an address.
    #[error("{interface} got no lease in {seconds} s")]
    NoLease {
        /// The interface.
        interface: String,
        /// How long was waited.
        seconds: u64,
    },
    /// The lease can't be used.
    #[error("lease: {0}")]
    Lease(&'static str),
    /// The DHCP client failed.
    #[error("DHCP: {0}")]
    Dhcp(#[source] mozim::DhcpError),
    /// A netlink request failed.
    #[error("{what}: {source}")]
    Netlink {
        /// What was asked for.
        what: &'static str,
        /// What the kernel says.
        #[source]
        source: rtnetlink::Error,
    },
    /// Netlink itself, or `resolv.conf`.
    #[error("{what}: {source}")]
    Io {
        /// What was done.
        what: &'static str,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
}

impl Coded for NetError {
    fn code(&self) -> Code {
        match self {
            Self::Missing(_) => Code::NetworkMissing,
            Self::NoCarrier { .. } => Code::NetworkNoCarrier,
            Self::NoLease { .. } => Code::NetworkNoLease,
            _ => Code::NetworkFailed,
        }
    }
}

/// What the interface got.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Up {
    /// The interface.
    pub interface: String,
    /// Its address.
    pub address: Cidr,
}

/// Addresses and routes to set, whoever told them.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Plan {
    address: Cidr,
    /// Destination and gateway; an unspecified gateway means on-link.
    routes: Vec<(Cidr, Ipv4Addr)>,
    dns: Vec<Ipv4Addr>,
}

struct Link {
    index: u32,
    name: String,
    mac: Vec<u8>,
    carrier: bool,
}

/// Brings the network up as `config` says, within `deadline`.
pub async fn up(config: &Network, deadline: Deadline) -> Result<Up, NetError> {
    let io = |what| move |source| NetError::Io { what, source };
    let (connection, handle, events) =
        new_multicast_connection(&[MulticastGroup::Link]).map_err(io("opening netlink"))?;
    let task = tokio::spawn(connection);
    let done = configure(config, &handle, events, deadline).await;
    task.abort();
    done
}

async fn configure<E>(
    config: &Network,
    handle: &Handle,
    events: E,
    deadline: Deadline,
) -> Result<Up, NetError>
where
    E: futures_util::Stream<
            Item = (rtnetlink::packet_core::NetlinkMessage<RouteNetlinkMessage>, rtnetlink::sys::SocketAddr),
        > + Unpin,
{
    let link = carrier(config, handle, events, deadline).await?;
    let plan = match config.address {
        Some(address) => {
            let plan = static_plan(config, address);
            set_address(handle, &link, &plan).await?;
            // What was configured is obeyed whole.
            set_routes(handle, &link, &plan, Err).await?;
            plan
        }
        None => {
            let asked = async || lease(&link).await;
            let plan = leased(config, &link.name, deadline, asked, async |plan: &Plan| {
                set_address(handle, &link, plan).await
            });
            let plan = plan.await?;
            // What was told is obeyed as far as it makes sense.
            set_routes(handle, &link, &plan, |_| Ok(())).await?;
            plan
        }
    };
    let io = |source| NetError::Io { what: "writing resolv.conf", source };
    resolv_conf(Path::new("/etc/resolv.conf"), &plan.dns).map_err(io)?;
    if !plan.dns.is_empty() {
        // Where the root's own /etc/resolv.conf leads.
        resolv_conf(Path::new("/run/ccnode/resolv.conf"), &plan.dns).map_err(io)?;
    }
    Ok(Up { interface: link.name, address: plan.address })
}

/// Asks until a lease is one that can be used: the next answer may be from another server than the first.
async fn leased(
    config: &Network,
    interface: &str,
    deadline: Deadline,
    mut ask: impl AsyncFnMut() -> Result<DhcpV4Lease, NetError>,
    mut set: impl AsyncFnMut(&Plan) -> Result<(), NetError>,
) -> Result<Plan, NetError> {
    let mut error = NetError::NoLease { interface: interface.to_owned(), seconds: deadline.span().as_secs() };
    while !deadline.left().is_zero() {
        let attempt = async {
            let plan = lease_plan(config, &ask().await?)?;
            set(&plan).await?;
            Ok(plan)
        };
        match timeout(deadline.left(), attempt).await {
            Ok(Ok(plan)) => return Ok(plan),
            Ok(Err(failed)) => error = failed,
            Err(_) => break,
        }
        tokio::time::sleep(deadline.left().min(AGAIN)).await;
    }
    Err(error)
}

/// Sets every candidate up and gives back the first with a link; changes come as events.
async fn carrier<E>(
    config: &Network,
    handle: &Handle,
    mut events: E,
    deadline: Deadline,
) -> Result<Link, NetError>
where
    E: futures_util::Stream<
            Item = (rtnetlink::packet_core::NetlinkMessage<RouteNetlinkMessage>, rtnetlink::sys::SocketAddr),
        > + Unpin,
{
    let failed = |what| move |source| NetError::Netlink { what, source };
    let wanted = |link: &Link| config.interface == "auto" || config.interface == link.name;
    let mut seen: Vec<u32> = Vec::new();
    let mut pending: Vec<Link> = Vec::new();
    let mut dump = handle.link().get().execute();
    while let Some(message) = dump.try_next().await.map_err(failed("listing links"))? {
        pending.extend(ethernet(&message));
    }
    loop {
        for link in pending.drain(..).filter(|link| wanted(link)) {
            if link.carrier {
                return Ok(link);
            }
            if !seen.contains(&link.index) {
                seen.push(link.index);
                let set = LinkUnspec::new_with_index(link.index).up().build();
                handle.link().set(set).execute().await.map_err(failed("setting a link up"))?;
            }
        }
        // An inner future that is ready is polled before the time is looked at.
        let event = match deadline.left() {
            Duration::ZERO => Ok(None),
            left => timeout(left, events.next()).await,
        };
        match event {
            Ok(Some((message, _))) => {
                if let NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(message)) = message.payload {
                    pending.extend(ethernet(&message));
                }
            }
            Ok(None) | Err(_) if seen.is_empty() => return Err(NetError::Missing(config.interface.clone())),
            Ok(None) | Err(_) => {
                let seconds = deadline.span().as_secs();
                return Err(NetError::NoCarrier { interface: config.interface.clone(), seconds });
            }
        }
    }
}

fn ethernet(message: &LinkMessage) -> Option<Link> {
    let flags = message.header.flags;
    if message.header.link_layer_type != LinkLayerType::Ether || flags.contains(LinkFlags::Loopback) {
        return None;
    }
    let mut link = Link {
        index: message.header.index,
        name: String::new(),
        mac: Vec::new(),
        // Not `Running`: the kernel tells that state up to a second late.
        carrier: flags.contains(LinkFlags::Up | LinkFlags::LowerUp),
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Address(mac) => link.mac.clone_from(mac),
            _ => {}
        }
    }
    Some(link)
}

async fn lease(link: &Link) -> Result<DhcpV4Lease, NetError> {
    let mut config = DhcpV4Config::new(&link.name);
    config.set_iface_index(link.index);
    config.set_iface_mac_raw(&link.mac).map_err(NetError::Dhcp)?;
    let mut client = DhcpV4Client::init(config, None).await.map_err(NetError::Dhcp)?;
    loop {
        if let DhcpV4State::Done(lease) = client.run().await.map_err(NetError::Dhcp)? {
            return Ok(*lease);
        }
    }
}

const DEFAULT: Cidr = Cidr { address: Ipv4Addr::UNSPECIFIED, prefix: 0 };

fn static_plan(config: &Network, address: Cidr) -> Plan {
    let routes = config.gateway.map(|gateway| (DEFAULT, gateway)).into_iter().collect();
    Plan { address, routes, dns: config.dns.clone() }
}

/// Takes address, mask, routes and name servers out of a lease, and nothing else of what it says.
fn lease_plan(config: &Network, lease: &DhcpV4Lease) -> Result<Plan, NetError> {
    if !is_host_address(lease.yiaddr) {
        return Err(NetError::Lease("not an address of a host"));
    }
    let mask = u32::from(lease.subnet_mask);
    let prefix = mask.leading_ones();
    if mask.checked_shl(prefix).unwrap_or(0) != 0 {
        return Err(NetError::Lease("the subnet mask has holes"));
    }
    let prefix = if mask == 0 { 32 } else { u8::try_from(prefix).unwrap_or(32) };
    let classless = lease.classless_routes.iter().flatten().take(16).map(|route| {
        (Cidr { address: route.destination, prefix: route.prefix_length.min(32) }, route.router)
    });
    let mut routes: Vec<_> = classless.collect();
    if lease.classless_routes.is_none() {
        routes.extend(lease.gateways.iter().flatten().take(1).map(|gateway| (DEFAULT, *gateway)));
    }
    let told = lease.dns_srvs.iter().flatten().copied().filter(|a| is_host_address(*a)).take(3).collect();
    let dns = if config.dns.is_empty() { told } else { config.dns.clone() };
    Ok(Plan { address: Cidr { address: lease.yiaddr, prefix }, routes, dns })
}

async fn set_address(handle: &Handle, link: &Link, plan: &Plan) -> Result<(), NetError> {
    let Cidr { address, prefix } = plan.address;
    let add = handle.address().add(link.index, IpAddr::V4(address), prefix).replace();
    add.execute().await.map_err(|source| NetError::Netlink { what: "setting the address", source })
}

/// Adds the routes; `refused` says whether one that the kernel refuses ends it.
async fn set_routes(
    handle: &Handle,
    link: &Link,
    plan: &Plan,
    refused: impl Fn(NetError) -> Result<(), NetError>,
) -> Result<(), NetError> {
    // On-link routes first: gateways must be reachable when their routes are added.
    let mut routes = plan.routes.clone();
    routes.sort_by_key(|(_, gateway)| !gateway.is_unspecified());
    for (to, gateway) in routes {
        let mut route = RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(to.address, to.prefix)
            .output_interface(link.index);
        if !gateway.is_unspecified() {
            route = route.gateway(gateway);
        }
        if let Err(source) = handle.route().add(route.build()).replace().execute().await {
            refused(NetError::Netlink { what: "adding a route", source })?;
        }
    }
    Ok(())
}

fn resolv_conf(path: &Path, dns: &[Ipv4Addr]) -> std::io::Result<()> {
    let text: String = dns.iter().map(|server| format!("nameserver {server}\n")).collect();
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir)?;
    }
    write_file(path, text.as_bytes(), 0o644)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease() -> DhcpV4Lease {
        let mut lease = DhcpV4Lease::default();
        lease.yiaddr = Ipv4Addr::new(10, 0, 2, 15);
        lease.subnet_mask = Ipv4Addr::new(255, 255, 255, 0);
        lease.gateways = Some(vec![Ipv4Addr::new(10, 0, 2, 2), Ipv4Addr::new(10, 0, 2, 3)]);
        lease.dns_srvs = Some(vec![Ipv4Addr::new(10, 0, 2, 3), Ipv4Addr::LOCALHOST]);
        lease
    }

    #[test]
    fn a_lease_gives_address_route_and_name_server() {
        let plan = lease_plan(&Network::default(), &lease()).unwrap();
        assert_eq!(plan.address, Cidr { address: Ipv4Addr::new(10, 0, 2, 15), prefix: 24 });
        assert_eq!(plan.routes, [(DEFAULT, Ipv4Addr::new(10, 0, 2, 2))]);
        assert_eq!(plan.dns, [Ipv4Addr::new(10, 0, 2, 3)]);
    }

    #[test]
    fn configured_name_servers_win() {
        let dns = vec![Ipv4Addr::new(192, 0, 2, 53)];
        let config = Network { dns: dns.clone(), ..Network::default() };
        assert_eq!(lease_plan(&config, &lease()).unwrap().dns, dns);
    }

    #[test]
    fn bad_leases_are_refused() {
        let mut holes = lease();
        holes.subnet_mask = Ipv4Addr::new(255, 0, 255, 0);
        assert_eq!(lease_plan(&Network::default(), &holes).unwrap_err().code(), Code::NetworkFailed);
        for bad in
            [Ipv4Addr::UNSPECIFIED, Ipv4Addr::LOCALHOST, Ipv4Addr::BROADCAST, Ipv4Addr::new(224, 0, 0, 1)]
        {
            let mut lease = lease();
            lease.yiaddr = bad;
            assert!(matches!(lease_plan(&Network::default(), &lease), Err(NetError::Lease(_))), "{bad}");
        }
    }

    #[test]
    fn static_needs_no_lease() {
        let address = Cidr { address: Ipv4Addr::new(192, 0, 2, 7), prefix: 24 };
        let config = Network { gateway: Some(Ipv4Addr::new(192, 0, 2, 1)), ..Network::default() };
        assert_eq!(static_plan(&config, address).routes, [(DEFAULT, Ipv4Addr::new(192, 0, 2, 1))]);
    }

    fn soon() -> Deadline {
        Deadline::after(Duration::from_secs(20))
    }

    #[tokio::test]
    async fn after_a_lease_that_can_not_be_used_another_one_is_asked_for() {
        let mut holes = lease();
        holes.subnet_mask = Ipv4Addr::new(255, 0, 255, 0);
        let mut refused = lease();
        refused.yiaddr = Ipv4Addr::new(10, 0, 2, 66);
        let mut leases = vec![lease(), refused, holes];
        let mut tried = Vec::new();
        let network = Network::default();
        let ask = async || Ok(leases.pop().unwrap());
        let plan = leased(&network, "eth0", soon(), ask, async |plan: &Plan| {
            tried.push(plan.address.address.octets()[3]);
            let source = rtnetlink::Error::RequestFailed;
            let refused = NetError::Netlink { what: "setting the address", source };
            if tried.len() == 1 { Err(refused) } else { Ok(()) }
        });
        assert_eq!(plan.await.unwrap().address.address, Ipv4Addr::new(10, 0, 2, 15));
        assert_eq!(tried, [66, 15]);
    }

    #[tokio::test]
    async fn at_the_deadline_the_last_failure_counts() {
        let short = || Deadline::after(Duration::from_millis(700));
        let network = Network::default();
        let mut asked = 0;
        let bad = async || {
            asked += 1;
            Ok(DhcpV4Lease::default())
        };
        let error = leased(&network, "eth0", short(), bad, async |_: &Plan| Ok(())).await.unwrap_err();
        assert!(matches!(error, NetError::Lease(_)) && asked > 1, "{error}, {asked}");
        let silent = async || std::future::pending().await;
        let error = leased(&network, "eth0", short(), silent, async |_: &Plan| Ok(())).await.unwrap_err();
        assert_eq!(error.code(), Code::NetworkNoLease);
    }

    #[test]
    fn name_servers_are_for_all_to_read() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("etc/resolv.conf");
        resolv_conf(&path, &[Ipv4Addr::new(192, 0, 2, 53)]).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "nameserver 192.0.2.53\n");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
    }
}

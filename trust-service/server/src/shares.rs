//! Places by address: what a peer may take at a time, so that one leaves room for the others.

use crate::metrics::Open;
use prometheus_client::metrics::gauge::Gauge;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

/// Who counts as one peer: an IPv4 address, or the /64 of an IPv6 address, of which any host has all.
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(six) => Ipv6Addr::from_bits(six.to_bits() >> 64 << 64).into(),
        four => four,
    }
}

/// Places of which there are so many in all, and so many for one peer; whoever has none waits.
#[derive(Debug)]
pub struct Shares {
    all: Arc<Semaphore>,
    each: usize,
    peers: Mutex<HashMap<IpAddr, Arc<Semaphore>>>,
    waiting: Gauge,
}

/// A place; given back on drop.
#[derive(Debug)]
pub struct Share {
    _all: OwnedSemaphorePermit,
    _own: OwnedSemaphorePermit,
}

impl Shares {
    /// `all` places, `each` for one peer.
    pub fn new(all: usize, each: usize) -> Self {
        Self { all: Arc::new(Semaphore::new(all)), each, peers: Mutex::default(), waiting: Gauge::default() }
    }

    /// Waits among the peer's own first: its queue is no other's.
    pub async fn take(&self, address: IpAddr) -> Result<Share, AcquireError> {
        let _waiting = Open::new(self.waiting.clone());
        let own = self.peer(network(address)).acquire_owned().await?;
        let all = self.all.clone().acquire_owned().await?;
        Ok(Share { _all: all, _own: own })
    }

    /// How many wait now.
    pub fn waiting(&self) -> Gauge {
        self.waiting.clone()
    }

    /// Places that nobody has.
    pub fn free(&self) -> usize {
        self.all.available_permits()
    }

    fn peer(&self, network: IpAddr) -> Arc<Semaphore> {
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        // Held by nobody but this map: neither in a place nor waiting. There are never more peers than connections.
        peers.retain(|_, semaphore| Arc::strong_count(semaphore) > 1);
        peers.entry(network).or_insert_with(|| Arc::new(Semaphore::new(self.each))).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::{Context, Waker};
    use std::time::Duration;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_host_is_one_peer_whatever_its_addresses() {
        assert_eq!(network(ip("10.0.0.1")), ip("10.0.0.1"));
        assert_eq!(network(ip("::ffff:10.0.0.1")), ip("10.0.0.1"));
        assert_eq!(network(ip("2001:db8:1:2:3:4:5:6")), network(ip("2001:db8:1:2::1")));
        assert_ne!(network(ip("2001:db8:1:2::1")), network(ip("2001:db8:1:3::1")));
    }

    #[tokio::test]
    async fn one_peer_leaves_room_and_is_forgotten() {
        let shares = Shares::new(3, 2);
        let take = async |address| {
            tokio::time::timeout(Duration::from_millis(20), shares.take(ip(address)))
                .await
                .ok()
                .map(Result::unwrap)
        };
        let (one, two) = (take("2001:db8::1").await, take("2001:db8::2").await);
        assert!(one.is_some() && two.is_some());
        assert!(take("2001:db8::3").await.is_none(), "of the same /64");
        let other = take("10.0.0.1").await;
        assert!(other.is_some());
        let mut waiting = Box::pin(shares.take(ip("10.0.0.2")));
        let mut context = Context::from_waker(Waker::noop());
        assert!(waiting.as_mut().poll(&mut context).is_pending(), "no place at all");
        assert_eq!(shares.waiting().get(), 1);
        drop(waiting);
        assert_eq!(shares.waiting().get(), 0, "whoever gives up waits no more");
        drop((one, two, other));
        assert_eq!(shares.free(), 3);
        let _again = take("2001:db8::1").await.unwrap();
        assert_eq!(shares.peers.lock().unwrap().len(), 1);
    }
}

//! Collateral that neither evidence nor bundle holds, from a mirror that an administrator runs: of AMD's Key Distribution
//! Service (KDS), and of Intel's provisioning certification service, a PCCS.
//!
//! Appraisal looks into memory alone ([`AtHand`], which notes what it missed); what it missed is fetched between two
//! appraisals ([`Mirror::fetch`]). A mirror can withhold, never forge: all that it says is judged under AMD's and Intel's roots.

mod at_hand;
mod http;
mod kds;
mod memory;
mod pcs;
mod want;

pub use at_hand::AtHand;
pub use http::{MAX_ANSWER, MirrorError};
pub use memory::{MAX_CHIPS, Memory};
pub use want::Want;

use ccnode_evidence::UnixTime;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;

/// Fetches at a time, of chips' certificates and of all else.
const TURNS: usize = 4;
/// How long a session waits for all that it wants: its node waits for the verdict.
const PATIENCE: Duration = Duration::from_secs(8);
/// How long a mirror that failed, or has no such thing, is not asked for it again: seconds.
const AGAIN: u64 = 60;

/// Where the mirrors are.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Base URL with the paths of the KDS (`/vcek/v1/…`), `https://` alone.
    pub snp: Option<String>,
    /// Base URL of a PCCS (`/sgx/certification/v4/…`), `https://` alone.
    pub tdx: Option<String>,
    /// PEM files of the CAs above the mirrors' certificates.
    pub cas: Vec<Vec<u8>>,
    /// How long what was fetched is used before the mirror is asked again.
    pub keep: Duration,
}

/// The mirrors, and what they said.
#[derive(Debug)]
pub struct Mirror {
    http: http::Http,
    settings: Settings,
    memory: Mutex<Arc<Memory>>,
    /// Of what anybody can make up, and of all else: neither waits for the other.
    turns: [Semaphore; 2],
}

impl Mirror {
    /// Reads the settings; nothing is asked yet.
    ///
    /// # Errors
    /// When there is no URL, one is not `https://`, there is no CA, or one is no certificate.
    pub fn new(settings: Settings) -> Result<Self, MirrorError> {
        if settings.snp.is_none() && settings.tdx.is_none() {
            return Err(MirrorError::Nowhere);
        }
        for url in [&settings.snp, &settings.tdx].into_iter().flatten() {
            http::check(url)?;
        }
        let http = http::Http::new(&settings.cas)?;
        Ok(Self { http, settings, memory: Mutex::default(), turns: [TURNS, TURNS].map(Semaphore::new) })
    }

    /// What was fetched so far.
    pub fn memory(&self) -> Arc<Memory> {
        Arc::clone(&self.memory.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Fetches what is wanted and not there yet, each thing once; says whether anything new is at hand. What a mirror does not
    /// give is logged, and not asked for again for a minute.
    pub async fn fetch(&self, wants: &BTreeSet<Want>, now: UnixTime) -> bool {
        let all = async {
            let [unbounded, bounded] = &self.turns;
            let each = |turns, is_unbounded: bool| {
                self.each(turns, wants.iter().filter(move |want| want.is_unbounded() == is_unbounded), now)
            };
            tokio::join!(each(unbounded, true), each(bounded, false))
        };
        if tokio::time::timeout(PATIENCE, all).await.is_err() {
            tracing::warn!("the mirror takes longer than {} s", PATIENCE.as_secs());
        }
        let memory = self.memory();
        wants.iter().any(|want| memory.has(want, now))
    }

    async fn each(&self, turns: &Semaphore, wants: impl Iterator<Item = &Want>, now: UnixTime) {
        for want in wants {
            // Never closed.
            let Ok(_turn) = turns.acquire().await else { return };
            // Another session may have fetched it while this one waited.
            if self.memory().lacks(want, now) {
                self.one(want, now).await;
            }
        }
    }

    async fn one(&self, want: &Want, now: UnixTime) {
        let until = |seconds: u64| UnixTime(now.0.saturating_add(seconds));
        let keep = until(self.settings.keep.as_secs());
        let fetched = match (want, &self.settings.snp, &self.settings.tdx) {
            (Want::Chip(chip), Some(base), _) => kds::chip(&self.http, base, chip)
                .await
                .map(|held| self.change(|m| m.put_chip(*chip, held, keep))),
            (Want::Line(product, key), Some(base), _) => kds::line(&self.http, base, *product, *key)
                .await
                .map(|held| self.change(|m| m.put_line((*product, *key), held, keep))),
            (Want::Platform(fmspc), _, Some(base)) => pcs::platform(&self.http, base, *fmspc)
                .await
                .map(|held| self.change(|m| m.put_platform(*fmspc, held, keep))),
            _ => return,
        };
        match fetched {
            Ok(()) => tracing::info!(%want, "fetched from the mirror"),
            Err(error) => {
                tracing::warn!(%want, %error, "the mirror does not give it");
                self.change(|memory| memory.put_nothing(want, until(AGAIN)));
            }
        }
    }

    fn change(&self, change: impl FnOnce(&mut Memory)) {
        change(Arc::make_mut(&mut self.memory.lock().unwrap_or_else(PoisonError::into_inner)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mirror_has_a_url_and_a_ca() {
        let new = |snp: Option<&str>, cas: &[&[u8]]| {
            let cas = cas.iter().map(|pem| pem.to_vec()).collect();
            let keep = Duration::from_secs(1);
            Mirror::new(Settings { snp: snp.map(str::to_owned), tdx: None, cas, keep }).unwrap_err()
        };
        let url = Some("https://kds.example.com");
        assert!(matches!(new(None, &[]), MirrorError::Nowhere));
        assert!(matches!(new(Some("http://kds.example.com"), &[]), MirrorError::Url(_)));
        assert!(matches!(new(url, &[]), MirrorError::NoCa));
        assert!(matches!(new(url, &[b"no PEM"]), MirrorError::Ca(1)));
    }
}

//! A pool's references as appraisal wants them, and appraisal's words as the store keeps them.

use crate::enrol;
use crate::problem::Refusal;
use crate::store::{PoolRow, StoreError, Tx};
use ccnode_appraise::stock::{ReferenceValues, StockReferences};
use ccnode_appraise::{AllowedOnce, EkRoot, Hardware};
use ccnode_evidence::{ImageTuple, PlatformTuple, Sha256Digest};
use ccnode_mirror::AtHand;
use ccnode_protocol::PoolName;
use ccnode_protocol::admin::{Counters, Pair, TrustLevel};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// All that one appraisal compares with.
#[derive(Debug, Default)]
pub struct References {
    kept: Arc<Kept>,
    /// Reference values that were posted for its pool, which stock evidence alone is compared with.
    values: Option<ReferenceValues>,
    /// What its node was allowed once, as long as that can be used.
    pub once: Option<AllowedOnce>,
    /// What is at hand besides the evidence; an appraisal may be made again with more.
    pub collateral: AtHand,
}

/// What a pool compares with, as the store has it.
#[derive(Debug, Default)]
struct Kept {
    platforms: Vec<PlatformTuple>,
    images: Vec<ImageTuple>,
    pairs: Vec<(Sha256Digest, Sha256Digest)>,
    ek_roots: Vec<EkRoot>,
    allow_init_data: bool,
    hardware: Hardware,
}

/// A pool's row, with what it compares evidence with.
#[derive(Clone, Debug)]
pub struct Pool {
    row: PoolRow,
    judged_by: Sha256Digest,
    kept: Arc<Kept>,
}

impl Deref for Pool {
    type Target = PoolRow;

    fn deref(&self) -> &PoolRow {
        &self.row
    }
}

impl Pool {
    /// [`enrol::judged_by`] of its demands.
    pub fn judged_by(&self) -> Sha256Digest {
        self.judged_by
    }

    /// Whether it takes these two together.
    pub fn allows(&self, pair: Pair) -> bool {
        self.kept.pairs.contains(&(pair.platform, pair.image))
    }
}

/// Pools as they were read last, and at which of the store's revisions.
#[derive(Debug, Default)]
pub struct Memory(Mutex<HashMap<PoolName, (u64, Arc<Pool>)>>);

impl Memory {
    fn lock(&self) -> MutexGuard<'_, HashMap<PoolName, (u64, Arc<Pool>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn at(&self, revision: u64, name: &PoolName) -> Option<Arc<Pool>> {
        self.lock().get(name).filter(|(at, _)| *at == revision).map(|(_, pool)| pool.clone())
    }

    /// A pool, where nothing changed since it was read last.
    pub async fn unchanged<T: Tx>(
        &self,
        tx: &mut T,
        name: &PoolName,
    ) -> Result<Option<Arc<Pool>>, StoreError> {
        Ok(self.at(tx.revision().await?, name))
    }

    /// A pool as the transaction has it, read only where something changed since it was last.
    pub async fn pool<T: Tx>(&self, tx: &mut T, name: &PoolName) -> Result<Option<Arc<Pool>>, Refusal> {
        let revision = tx.revision().await?;
        let known = self.at(revision, name);
        if known.is_some() {
            return Ok(known);
        }
        let Some(row) = tx.pool(name).await? else { return Ok(None) };
        let judged_by = enrol::judged_by(&row.hardware)?;
        let kept = Arc::new(Kept::read(tx, &row).await?);
        let pool = Arc::new(Pool { row, judged_by, kept });
        // What a writer sees may never be: another change would have the same revision then.
        if tx.is_snapshot() {
            self.lock().insert(name.clone(), (revision, pool.clone()));
        }
        Ok(Some(pool))
    }
}

impl References {
    /// Those of a pool.
    pub fn of(pool: &Pool, collateral: AtHand) -> Self {
        // Not from the default, which makes an empty pool with all vendors' roots.
        Self { kept: pool.kept.clone(), values: None, once: None, collateral }
    }

    /// The same for a node that was allowed something once.
    #[must_use]
    pub fn allowing(self, once: Option<AllowedOnce>) -> Self {
        Self { once, ..self }
    }

    /// The same for evidence of stock clients, with the pool's reference values. `posted` are those of the store.
    pub fn of_stock(
        pool: &Pool,
        posted: &BTreeMap<String, Value>,
        collateral: AtHand,
    ) -> Result<Self, StoreError> {
        let mut values = ReferenceValues::default();
        for (name, value) in posted {
            // They were read when they were posted.
            values.add(name, value).map_err(|e| StoreError::Corrupt {
                column: "reference_values",
                source: serde::de::Error::custom(e),
            })?;
        }
        let values = (!posted.is_empty()).then_some(values);
        Ok(Self { values, ..Self::of(pool, collateral) })
    }

    /// Those of no pool: they take nothing, and say what a report proves all the same.
    pub fn of_no_pool(collateral: AtHand) -> Self {
        Self { collateral, ..Self::default() }
    }

    /// As appraisal takes them of stock evidence.
    pub fn stock(&self) -> StockReferences<'_> {
        StockReferences { pool: self.borrow(), values: self.values.as_ref() }
    }

    /// As appraisal takes them.
    pub fn borrow(&self) -> ccnode_appraise::References<'_> {
        let Kept { platforms, images, pairs, ek_roots, allow_init_data, hardware } = &*self.kept;
        ccnode_appraise::References {
            platforms,
            images,
            pairs,
            ek_roots,
            allow_init_data: *allow_init_data,
            hardware,
            collateral: &self.collateral,
        }
    }
}

impl Kept {
    /// Tuples are known to every pool; pairs and roots are the pool's own.
    async fn read<T: Tx>(tx: &mut T, pool: &PoolRow) -> Result<Self, StoreError> {
        let root = |root: ccnode_protocol::admin::EkRoot| EkRoot {
            // The store has just made this PEM of its own DER.
            cert_der: crate::pki::der_of_pem(&root.certificate).unwrap_or_default(),
            level: appraised(root.level),
        };
        Ok(Self {
            platforms: tx.platforms().await?.into_iter().map(|row| row.tuple).collect(),
            images: tx.images().await?.into_iter().map(|row| row.tuple).collect(),
            pairs: tx
                .pairs(Some(&pool.name))
                .await?
                .into_iter()
                .map(|(_, p)| (p.platform, p.image))
                .collect(),
            ek_roots: tx.ek_roots(&pool.name).await?.into_iter().map(root).collect(),
            allow_init_data: pool.allow_init_data,
            // Its roots were read when it was set.
            hardware: Hardware::new(pool.hardware.clone()).map_err(|e| StoreError::Corrupt {
                column: "hardware",
                source: serde::de::Error::custom(e),
            })?,
        })
    }
}

fn appraised(level: TrustLevel) -> ccnode_appraise::TrustLevel {
    match level {
        TrustLevel::HypervisorVtpm => ccnode_appraise::TrustLevel::HypervisorVtpm,
        TrustLevel::DiscreteTpm => ccnode_appraise::TrustLevel::DiscreteTpm,
        TrustLevel::Tee => ccnode_appraise::TrustLevel::Tee,
        TrustLevel::TeeBoundVtpm => ccnode_appraise::TrustLevel::TeeBoundVtpm,
    }
}

/// A level as it is stored.
pub fn level(level: ccnode_appraise::TrustLevel) -> TrustLevel {
    match level {
        ccnode_appraise::TrustLevel::HypervisorVtpm => TrustLevel::HypervisorVtpm,
        ccnode_appraise::TrustLevel::DiscreteTpm => TrustLevel::DiscreteTpm,
        ccnode_appraise::TrustLevel::Tee => TrustLevel::Tee,
        ccnode_appraise::TrustLevel::TeeBoundVtpm => TrustLevel::TeeBoundVtpm,
    }
}

/// Counters as they are stored.
pub fn counters(counters: &ccnode_appraise::Counters) -> Counters {
    Counters {
        reset_count: counters.reset_count,
        restart_count: counters.restart_count,
        clock: counters.clock,
        safe: counters.safe,
    }
}

//! A pool's references as appraisal wants them, and appraisal's words as the store keeps them.

use crate::store::{PoolRow, StoreError, Tx};
use ccnode_appraise::stock::{ReferenceValues, StockReferences};
use ccnode_appraise::{EkRoot, Hardware};
use ccnode_evidence::{ImageTuple, PlatformTuple, Sha256Digest};
use ccnode_mirror::AtHand;
use ccnode_protocol::PoolName;
use ccnode_protocol::admin::{Counters, TrustLevel};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// All that one appraisal compares with.
#[derive(Debug, Default)]
pub struct References {
    kept: Arc<Kept>,
    /// Reference values that were posted for its pool, which stock evidence alone is compared with.
    values: Option<ReferenceValues>,
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

/// What was read last for each pool, and at which of the store's revisions.
#[derive(Debug, Default)]
pub struct Memory(Mutex<HashMap<PoolName, (u64, Arc<Kept>)>>);

impl Memory {
    fn lock(&self) -> MutexGuard<'_, HashMap<PoolName, (u64, Arc<Kept>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl References {
    /// Those of the transaction's snapshot, read only where they changed since `memory` was filled.
    pub async fn load<T: Tx>(
        tx: &mut T,
        pool: &PoolRow,
        memory: &Memory,
        collateral: AtHand,
    ) -> Result<Self, StoreError> {
        let revision = tx.revision().await?;
        let known =
            memory.lock().get(&pool.name).filter(|(at, _)| *at == revision).map(|(_, kept)| kept.clone());
        if let Some(kept) = known {
            return Ok(Self { kept, values: None, collateral });
        }
        let kept = Arc::new(Kept::read(tx, pool).await?);
        memory.lock().insert(pool.name.clone(), (revision, kept.clone()));
        Ok(Self { kept, values: None, collateral })
    }

    /// The same for evidence of stock clients, with the pool's reference values. `posted` are those of the store.
    pub async fn load_stock<T: Tx>(
        tx: &mut T,
        pool: &PoolRow,
        posted: &BTreeMap<String, Value>,
        memory: &Memory,
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
        Ok(Self { values, ..Self::load(tx, pool, memory, collateral).await? })
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

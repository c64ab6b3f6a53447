//! Seeds of LUKS2 headers: 512 bytes of the binary header and the JSON area, which the target seals.

use crate::{Corpora, Done, secrets};
use ccnode_fuzz_targets::{BINARY, CONTENT, PASSPHRASE_KEYSLOTS, direct_key, sealed};
use ccnode_luks_header::{
    Allowlist, HEADER_LEN, METADATA_SIZE, Token, VOLUME_KEY_LEN, WRAP, judge, mark, passphrase, verity,
};
use ccnode_protocol::jwe::seal_direct;
use serde_json::{Map, Value, json};

const UUID: &[u8] = b"28632274-8c8a-493f-835b-da802e1c576b";
const B64_32: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

pub(crate) fn put(corpora: &Corpora) -> Done {
    let own = of(&metadata()?)?;
    judge(sealed(&own, HEADER_LEN).ok_or("too long")?, &Allowlist::VOLUME)?;
    corpora.put("luks_header", "json", own)?;
    let journal = mark::Journal {
        volume: "n-abc/root".parse()?,
        uuid: String::from_utf8(UUID.to_vec())?,
        generation: 1,
    };
    corpora.put("luks_header", "mark", mark::Mark::Journal(journal).encode())?;
    corpora.put("luks_header", "trailer", verity::trailer(1 << 20))?;
    let block = superblock();
    verity::Verity::judge(block.first_chunk().ok_or("too short")?, 1 << 20, 2 << 20)?;
    corpora.put("luks_header", "verity", block)?;

    for (name, by) in
        [("clevis", passphrase::OpenedBy::Clevis), ("passphrase", passphrase::OpenedBy::Passphrase)]
    {
        let mut metadata = foreign()?;
        if by == passphrase::OpenedBy::Passphrase
            && let Some(tokens) = metadata.get_mut("tokens")
        {
            *tokens = json!({});
        }
        let header = of(&metadata)?;
        let len = 2 * usize::try_from(METADATA_SIZE)? + PASSPHRASE_KEYSLOTS;
        passphrase::judge(sealed(&header, len).ok_or("too long")?, by)?;
        corpora.put("passphrase_header", name, header)?;
    }
    Ok(())
}

/// A dm-verity superblock over 256 blocks with a salt.
fn superblock() -> Vec<u8> {
    let fields: [(usize, &[u8]); 9] = [
        (0, b"verity\0\0"),
        (8, &1u32.to_le_bytes()),
        (12, &1u32.to_le_bytes()),
        (16, &[7; 16]),
        (32, b"sha256"),
        (64, &4096u32.to_le_bytes()),
        (68, &4096u32.to_le_bytes()),
        (72, &256u64.to_le_bytes()),
        (80, &[4, 0]),
    ];
    let mut block = Vec::new();
    for (at, bytes) in fields {
        block.resize(at, 0);
        block.extend(bytes);
    }
    block.resize(88, 0);
    block.extend([9; 4]);
    block.resize(verity::LEN, 0);
    block
}

/// A primary binary header and this JSON.
fn of(metadata: &Value) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
    let mut header = vec![0; BINARY];
    let mut put = |at: usize, bytes: &[u8]| {
        let place = header.get_mut(at..).and_then(|rest| rest.get_mut(..bytes.len())).ok_or("outside")?;
        place.copy_from_slice(bytes);
        Ok::<_, &str>(())
    };
    put(0, b"LUKS\xba\xbe")?;
    put(6, &2u16.to_be_bytes())?;
    put(8, &METADATA_SIZE.to_be_bytes())?;
    put(16, &3u64.to_be_bytes())?;
    put(72, b"sha256")?;
    put(104, &[1; 64])?;
    put(168, UUID)?;
    header.extend(metadata.to_string().into_bytes());
    Ok(header)
}

fn metadata() -> Result<Value, Box<dyn std::error::Error>> {
    let wrapped = |byte| vec![byte; VOLUME_KEY_LEN + WRAP];
    let (volume, recovery) = ("n-abc/root".parse()?, Some(wrapped(8)));
    let token = Token { volume, generation: 1, wrapped: wrapped(7), recovery };
    Ok(json!({
        "keyslots": {},
        "tokens": {"0": token.to_json()},
        "segments": {"0": {
            "type": "crypt", "offset": "1048576", "size": "dynamic", "iv_tweak": "0",
            "encryption": "aes-xts-plain64", "sector_size": 4096,
        }},
        "digests": {"0": {
            "type": "pbkdf2", "keyslots": [], "segments": ["0"], "hash": "sha256", "iterations": 1000,
            "salt": B64_32, "digest": B64_32,
        }},
        "config": {"json_size": "12288", "keyslots_size": "4096"},
    }))
}

/// As `cryptsetup luksFormat` and `clevis luks bind` leave it.
fn foreign() -> Result<Value, Box<dyn std::error::Error>> {
    let keyslot = |offset: u32, kdf: Value| {
        json!({
            "type": "luks2", "key_size": 64, "kdf": kdf,
            "af": {"type": "luks1", "stripes": 4000, "hash": "sha256"},
            "area": {"type": "raw", "offset": offset.to_string(), "size": "16384", "encryption": "aes-xts-plain64", "key_size": 64},
        })
    };
    let argon2 = json!({"type": "argon2id", "time": 4, "memory": 1_048_576, "cpus": 4, "salt": B64_32});
    let pbkdf2 = json!({"type": "pbkdf2", "hash": "sha256", "iterations": 2_000_000, "salt": B64_32});
    let jwe = secrets::flattened(&seal_direct(&direct_key(), Map::new(), CONTENT)?);
    Ok(json!({
        "keyslots": {"0": keyslot(0x8000, argon2), "1": keyslot(0xc000, pbkdf2)},
        "tokens": {"0": {"type": "clevis", "keyslots": ["1"], "jwe": serde_json::from_str::<Value>(&jwe)?}},
        "segments": {"0": {
            "type": "crypt", "offset": "16777216", "size": "dynamic", "iv_tweak": "0",
            "encryption": "aes-xts-plain64", "sector_size": 512,
        }},
        "digests": {"0": {
            "type": "pbkdf2", "keyslots": ["0", "1"], "segments": ["0"], "hash": "sha256", "iterations": 300_000,
            "salt": B64_32, "digest": B64_32,
        }},
        "config": {"json_size": "12288", "keyslots_size": PASSPHRASE_KEYSLOTS.to_string()},
    }))
}

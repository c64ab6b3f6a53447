//! The rules for a recipe's kernel command line: what it must hold, and what it must not.

use crate::recipe::DataVolume;
use ccnode_evidence::{DATA_KEY, LAYOUT_KEY, Layout, Sha256Digest};

/// What each image's command line holds, with the reason that an error gives.
pub const REQUIRED: [(&str, &str); 9] = [
    ("systemd.import_credentials=no", "hosts could feed credentials to systemd by SMBIOS and fw_cfg"),
    ("systemd.gpt_auto=no", "hosts could have file systems mounted by the partition table"),
    ("systemd.getty_auto=no", "a login prompt would appear on the console"),
    ("systemd.swap=no", "hosts could have memory swapped to a partition of theirs"),
    ("lockdown=integrity", "root could change the running kernel"),
    ("module.sig_enforce=1", "unsigned kernel modules could be loaded"),
    ("init_on_free=1", "keys could stay in freed memory"),
    ("nohibernate", "memory could be written to a disk"),
    ("panic=-1", "a machine whose first process died would stay on with keys in its memory"),
];

/// Keys of ours that a recipe may set, with their values.
const OURS: [(&str, &[&str]); 1] = [("ccnode.log", &["json"])];

/// Keys that would make another program decide what is booted.
const FORBIDDEN: [(&str, &str); 13] = [
    ("root", "ccnode-init finds the root file system by node.toml"),
    ("roothash", "the builder adds ccnode.roothash= itself"),
    ("usrhash", "there is no separate /usr"),
    ("rdinit", "/init of the initramfs must be ccnode-init"),
    ("init", "ccnode-init hands over to systemd"),
    ("initrd", "the initramfs is a section of the unified kernel image"),
    ("systemd.unit", "it could start a shell in place of the node's target"),
    ("systemd.debug-shell", "it opens a root shell"),
    ("systemd.debug_shell", "it opens a root shell"),
    ("systemd.setenv", "it changes what systemd and its services do"),
    ("systemd.set_credential", "credentials come from the attested service"),
    ("rescue", "it asks for a shell"),
    ("emergency", "it asks for a shell"),
];

/// The key that the builder adds.
pub const ROOT_HASH: &str = "ccnode.roothash";

/// The whole command line: a recipe's checked one, and what the builder declares.
pub(crate) fn whole(checked: &str, root_hash: &Sha256Digest, layout: Layout, data: &[DataVolume]) -> String {
    let names = data.iter().map(|data| data.name.as_str()).collect::<Vec<_>>().join(",");
    let data = if names.is_empty() { names } else { format!(" {DATA_KEY}={names}") };
    let declared = match layout.is_default() {
        true => String::new(),
        false => format!(" {LAYOUT_KEY}={layout}"),
    };
    format!("{checked} {ROOT_HASH}={root_hash}{declared}{data}")
}

/// Why a command line is refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CmdlineError {
    /// A required word is missing.
    #[error("[kernel] cmdline lacks `{word}`: without it {reason}; add it")]
    Lacks {
        /// The word.
        word: &'static str,
        /// What could happen without it.
        reason: &'static str,
    },
    /// A required key occurs again with another value, and the last one wins.
    #[error("[kernel] cmdline has `{word}`, which contradicts `{required}`: remove it")]
    Contradicts {
        /// The word.
        word: String,
        /// The required one.
        required: &'static str,
    },
    /// A key that no image may set.
    #[error("[kernel] cmdline has `{word}`: {reason}; remove it")]
    Forbidden {
        /// The word.
        word: String,
        /// Why.
        reason: &'static str,
    },
    /// A `ccnode.` key that ccnode-init does not know.
    #[error("[kernel] cmdline has `{0}`: the only key of this kind that a recipe may set is ccnode.log=json")]
    Unknown(String),
    /// The builder's own key.
    #[error("[kernel] cmdline has `{0}`: the builder computes and adds it; remove it")]
    BuildersOwn(String),
    /// An entry that is not one word of printable ASCII.
    #[error("[kernel] cmdline has `{}`: each entry is one word of printable ASCII without quotes", .0.escape_default())]
    NotAWord(String),
}

/// Checks the entries of a recipe and joins them.
pub fn check(entries: &[String]) -> Result<String, CmdlineError> {
    for entry in entries {
        let plain = entry.bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\'');
        if entry.is_empty() || !plain {
            return Err(CmdlineError::NotAWord(entry.clone()));
        }
        check_word(entry)?;
    }
    for (word, reason) in REQUIRED {
        if !entries.iter().any(|e| e == word) {
            return Err(CmdlineError::Lacks { word, reason });
        }
    }
    Ok(entries.join(" "))
}

fn check_word(word: &str) -> Result<(), CmdlineError> {
    let (key, value) = word.split_once('=').unwrap_or((word, ""));
    // The kernel takes dashes and underscores of a key for the same.
    let same = |a: &str, b: &str| a.replace('-', "_") == b.replace('-', "_");
    if same(key, ROOT_HASH) {
        return Err(CmdlineError::BuildersOwn(word.to_owned()));
    }
    if key == "ccnode" || key.starts_with("ccnode.") {
        let known = OURS.iter().any(|(k, values)| *k == key && values.contains(&value));
        return if known { Ok(()) } else { Err(CmdlineError::Unknown(word.to_owned())) };
    }
    if let Some((_, reason)) = FORBIDDEN.iter().find(|(k, _)| same(key, k)) {
        return Err(CmdlineError::Forbidden { word: word.to_owned(), reason });
    }
    for (required, _) in REQUIRED {
        let required_key = required.split_once('=').map_or(required, |(k, _)| k);
        if same(key, required_key) && word != required {
            return Err(CmdlineError::Contradicts { word: word.to_owned(), required });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Vec<String> {
        let required = REQUIRED.iter().map(|(word, _)| (*word).to_owned());
        ["console=ttyS0".to_owned(), "ccnode.log=json".to_owned()].into_iter().chain(required).collect()
    }

    #[test]
    fn the_builder_declares_root_and_layout() {
        let whole = |layout| whole("quiet", &Sha256Digest::ZERO, layout, &[]);
        let hash = "00".repeat(32);
        assert_eq!(whole(Layout::LuksRoot), format!("quiet ccnode.roothash={hash}"));
        assert_eq!(whole(Layout::Ephemeral), format!("quiet ccnode.roothash={hash} ccnode.layout=ephemeral"));
        let volume = |name: &str| DataVolume { name: name.parse().unwrap(), label: String::new(), mib: 1 };
        let data = super::whole("quiet", &Sha256Digest::ZERO, Layout::LuksRoot, &["a", "b"].map(volume));
        assert_eq!(data, format!("quiet ccnode.roothash={hash} ccnode.data=a,b"));
    }

    #[test]
    fn good_line_is_joined_in_order() {
        assert!(
            check(&good())
                .unwrap()
                .starts_with("console=ttyS0 ccnode.log=json systemd.import_credentials=no ")
        );
    }

    #[test]
    fn documentation_lists_what_is_demanded() {
        let text = include_str!("../../docs/recipe.md");
        for (word, reason) in REQUIRED {
            assert!(text.contains(&format!("| `{word}` | {reason} |")), "{word}");
        }
    }

    #[test]
    fn each_required_word_is_demanded() {
        for (word, _) in REQUIRED {
            let line: Vec<_> = good().into_iter().filter(|w| w != word).collect();
            let error = check(&line).unwrap_err();
            assert!(matches!(error, CmdlineError::Lacks { word: w, .. } if w == word), "{error}");
            assert!(error.to_string().ends_with("; add it"), "{error}");
        }
    }

    fn with(word: &str) -> CmdlineError {
        let mut line = good();
        line.push(word.to_owned());
        check(&line).unwrap_err()
    }

    #[test]
    fn words_that_change_who_boots_are_refused() {
        for word in [
            "root=/dev/vda",
            "root",
            "roothash=00",
            "rdinit=/bin/sh",
            "init=/bin/sh",
            "initrd=x",
            "usrhash=1",
        ] {
            assert!(matches!(with(word), CmdlineError::Forbidden { .. }), "{word}");
        }
    }

    #[test]
    fn unknown_keys_of_ours_are_refused() {
        for word in ["ccnode.debug=1", "ccnode.layout=ephemeral", "ccnode.log=text", "ccnode.log", "ccnode=1"]
        {
            assert!(matches!(with(word), CmdlineError::Unknown(_)), "{word}");
        }
        assert!(matches!(with("ccnode.roothash=00"), CmdlineError::BuildersOwn(_)));
    }

    #[test]
    fn required_words_can_not_be_undone() {
        for word in [
            "systemd.import_credentials=yes",
            "systemd.import-credentials=yes",
            "lockdown=none",
            "module.sig-enforce=0",
            "init_on_free=0",
        ] {
            assert!(matches!(with(word), CmdlineError::Contradicts { .. }), "{word}");
        }
    }

    #[test]
    fn entries_are_single_words() {
        for word in ["", "a b", "a\"b", "a'b", "ü", "a\nb"] {
            assert!(matches!(with(word), CmdlineError::NotAWord(_)), "{word}");
        }
    }
}

//! Packages from the machine's own apt sources, for one suite alone; nothing is installed and no list of the machine changes.

use crate::tool::{Tool, ToolError};
use std::fs;
use std::path::{Path, PathBuf};

/// Why packages can't be had.
#[derive(Debug, thiserror::Error)]
pub enum AptError {
    /// A tool failed.
    #[error(transparent)]
    Tool(ToolError),
    /// A file can't be read or written.
    #[error("can't access {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// No source of the machine has the suite.
    #[error(
        "no apt source of this machine has the suite `{0}`: add one to /etc/apt/sources.list.d, or correct [root] suite"
    )]
    NoSource(String),
    /// The suite has no such package.
    #[error("the suite `{suite}` has no package `{package}`: correct the recipe")]
    NoPackage {
        /// The suite.
        suite: String,
        /// The package.
        package: String,
    },
}

/// Apt sources in deb822 form, narrowed to one suite with its updates and security fixes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Sources(pub(crate) String);

impl Sources {
    /// The machine's own sources for `suite`. Backports that no source names are looked for at the mirrors of their suite, where
    /// Debian keeps them, under the same keys.
    pub(crate) fn of_machine(suite: &str) -> Result<Self, AptError> {
        match (Self::named(suite), suite.strip_suffix("-backports")) {
            (Err(AptError::NoSource(_)), Some(base)) => Self::named(base)?.backports(base),
            (sources, _) => sources,
        }
    }

    /// The stanzas of `base` itself, turned to its backports.
    fn backports(&self, base: &str) -> Result<Self, AptError> {
        let suite = format!("{base}-backports");
        let mirrors = self.0.split("\n\n").filter_map(|stanza| turn(stanza, base, &suite));
        let stanzas: Vec<String> = mirrors.collect();
        match stanzas.is_empty() {
            true => Err(AptError::NoSource(suite)),
            false => Ok(Self(stanzas.join("\n"))),
        }
    }

    fn named(suite: &str) -> Result<Self, AptError> {
        let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
        let parts = Path::new("/etc/apt/sources.list.d");
        let mut names: Vec<PathBuf> =
            fs::read_dir(parts).map(|dir| dir.flatten().map(|e| e.path()).collect()).unwrap_or_default();
        names.sort();
        files.extend(names);
        let mut stanzas = Vec::new();
        for path in files.iter().filter(|p| p.is_file()) {
            let extension = path.extension().and_then(|e| e.to_str());
            let text =
                fs::read_to_string(path).map_err(|source| AptError::Io { path: path.clone(), source })?;
            match extension {
                Some("list") => stanzas.extend(text.lines().filter_map(|line| from_line(line, suite))),
                Some("sources") => stanzas.extend(from_deb822(&text, suite)),
                _ => {}
            }
        }
        if stanzas.is_empty() {
            return Err(AptError::NoSource(suite.to_owned()));
        }
        Ok(Self(stanzas.join("\n")))
    }
}

/// The suite itself, its updates and its security fixes; backports and other people's suites are left out.
fn belongs(found: &str, suite: &str) -> bool {
    let rest = found.strip_prefix(suite);
    matches!(rest, Some("" | "-updates" | "-security" | "/updates"))
}

/// A line of the one-line form as a stanza.
fn from_line(line: &str, suite: &str) -> Option<String> {
    let line = line.split('#').next()?.trim();
    let rest = line.strip_prefix("deb ")?.trim_start();
    let (options, rest) = match rest.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => ("", rest),
    };
    let mut words = rest.split_whitespace();
    let (uri, found) = (words.next()?, words.next()?);
    let components: Vec<&str> = words.collect();
    if !belongs(found, suite) || components.is_empty() {
        return None;
    }
    let mut stanza =
        format!("Types: deb\nURIs: {uri}\nSuites: {found}\nComponents: {}\n", components.join(" "));
    for (key, value) in options.split_whitespace().filter_map(|o| o.split_once('=')) {
        let key = match key {
            "signed-by" => "Signed-By",
            "trusted" => "Trusted",
            "check-valid-until" => "Check-Valid-Until",
            _ => continue,
        };
        stanza.push_str(&format!("{key}: {value}\n"));
    }
    Some(stanza)
}

/// The stanzas of a deb822 file, with the suites that belong.
fn from_deb822(text: &str, suite: &str) -> Vec<String> {
    let plain: String =
        text.lines().filter(|l| !l.starts_with('#')).map(|l| format!("{}\n", l.trim_end())).collect();
    plain.split("\n\n").filter_map(|stanza| narrow(stanza, suite)).collect()
}

fn narrow(stanza: &str, suite: &str) -> Option<String> {
    let field = |name: &str| {
        let line = stanza.lines().find(|l| l.to_ascii_lowercase().starts_with(&format!("{name}:")))?;
        line.split_once(':').map(|(_, value)| value.trim())
    };
    let binary = field("types")?.split_whitespace().any(|t| t == "deb");
    let disabled = field("enabled").is_some_and(|v| matches!(v, "no" | "false" | "0" | "off"));
    let suites: Vec<&str> = field("suites")?.split_whitespace().filter(|s| belongs(s, suite)).collect();
    if !binary || disabled || suites.is_empty() {
        return None;
    }
    let mut out = String::new();
    for line in stanza.lines().filter(|l| !l.is_empty()) {
        let key = line.to_ascii_lowercase();
        if key.starts_with("suites:") {
            out.push_str(&format!("Suites: {}\n", suites.join(" ")));
        } else if key.starts_with("types:") {
            out.push_str("Types: deb\n");
        } else {
            out.push_str(line);
            out.push('\n');
        }
    }
    Some(out)
}

/// A stanza for `suite` in place of `base`; none where the stanza is for updates or security fixes alone.
fn turn(stanza: &str, base: &str, suite: &str) -> Option<String> {
    let lines = stanza.lines().filter(|line| !line.is_empty());
    let mut found = false;
    let turned: Vec<String> = lines
        .map(|line| match line.strip_prefix("Suites:") {
            Some(suites) if suites.split_whitespace().any(|s| s == base) => {
                found = true;
                format!("Suites: {suite}\n")
            }
            _ => format!("{line}\n"),
        })
        .collect();
    found.then(|| turned.concat())
}

/// How the machine reaches its sources (proxies), as apt options of the form `Acquire::http::Proxy "…";`.
pub(crate) fn proxies() -> Vec<String> {
    let Ok(text) = Tool::new("apt-config", "apt").arg("dump").text() else { return Vec::new() };
    let wanted =
        |line: &&str| line.starts_with("Acquire::http") && line.contains("Proxy") && !line.ends_with("\"\";");
    text.lines().filter(wanted).map(str::to_owned).collect()
}

/// A package as it was downloaded.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) architecture: String,
}

/// An apt configuration of its own below a folder.
#[derive(Debug)]
pub(crate) struct Apt {
    dir: PathBuf,
    suite: String,
}

impl Apt {
    /// Fetches the lists of `sources` into `dir`.
    pub(crate) fn open(dir: &Path, suite: &str, sources: &Sources) -> Result<Self, AptError> {
        for part in ["parts", "state/lists/partial", "cache/archives/partial"] {
            let path = dir.join(part);
            fs::create_dir_all(&path).map_err(|source| AptError::Io { path, source })?;
        }
        for (name, text) in [("parts/ccnode.sources", sources.0.as_str()), ("status", "")] {
            let path = dir.join(name);
            fs::write(&path, text).map_err(|source| AptError::Io { path, source })?;
        }
        let apt = Self { dir: dir.to_owned(), suite: suite.to_owned() };
        apt.tool("apt-get").args(["--error-on=any", "update"]).run().map_err(AptError::Tool)?;
        Ok(apt)
    }

    fn tool(&self, name: &'static str) -> Tool {
        let path = |part: &str| self.dir.join(part).display().to_string();
        let options = [
            "Dir::Etc::SourceList=/dev/null".to_owned(),
            format!("Dir::Etc::SourceParts={}", path("parts")),
            "Dir::Etc::Preferences=/dev/null".to_owned(),
            "Dir::Etc::PreferencesParts=/dev/null".to_owned(),
            format!("Dir::State={}", path("state")),
            format!("Dir::State::status={}", path("status")),
            format!("Dir::Cache={}", path("cache")),
            "Acquire::Languages=none".to_owned(),
            "APT::Architecture=amd64".to_owned(),
            "APT::Architectures=amd64".to_owned(),
            "APT::Sandbox::User=".to_owned(),
            "APT::Get::Assume-Yes=true".to_owned(),
        ];
        Tool::new(name, "apt").arg("-q").args(options.into_iter().map(|o| format!("-o{o}")))
    }

    /// Name, version and dependencies of a package's newest version.
    fn show(&self, name: &str) -> Result<(Package, Vec<String>), AptError> {
        let missing = || AptError::NoPackage { suite: self.suite.clone(), package: name.to_owned() };
        let text =
            self.tool("apt-cache").args(["--no-all-versions", "show", name]).text().map_err(|_| missing())?;
        let field = |key: &str| {
            let line = text.lines().find_map(|l| l.strip_prefix(key)?.strip_prefix(':'));
            line.map(|value| value.trim().to_owned())
        };
        let package = Package {
            name: field("Package").ok_or_else(missing)?,
            version: field("Version").ok_or_else(missing)?,
            architecture: field("Architecture").ok_or_else(missing)?,
        };
        let depends = field("Depends").unwrap_or_default();
        let names = depends.split([',', '|']).filter_map(|d| d.split_whitespace().next()).map(str::to_owned);
        Ok((package, names.collect()))
    }

    /// The kernel that `name` stands for: itself, or the `linux-image-…` that it depends on.
    pub(crate) fn kernel(&self, name: &str) -> Result<Package, AptError> {
        let (package, depends) = self.show(name)?;
        match depends.iter().find(|d| d.starts_with("linux-image-")) {
            Some(inner) => self.show(inner).map(|(package, _)| package),
            None => Ok(package),
        }
    }

    /// A package's newest version.
    pub(crate) fn package(&self, name: &str) -> Result<Package, AptError> {
        self.show(name).map(|(package, _)| package)
    }

    /// Downloads a package and unpacks it below `into`; apt checks its digest against the signed lists.
    pub(crate) fn unpack(&self, package: &Package, into: &Path) -> Result<(), AptError> {
        let debs = self.dir.join("debs").join(&package.name);
        let io = |path: &Path, source| AptError::Io { path: path.to_owned(), source };
        fs::create_dir_all(&debs).map_err(|e| io(&debs, e))?;
        let wanted = format!("{}={}", package.name, package.version);
        self.tool("apt-get").args(["download", &wanted]).dir(&debs).run().map_err(AptError::Tool)?;
        let file = fs::read_dir(&debs).map_err(|e| io(&debs, e))?.flatten().next();
        let file = file.ok_or_else(|| io(&debs, std::io::ErrorKind::NotFound.into()))?.path();
        Tool::new("dpkg", "dpkg").arg("-x").arg(file).arg(into).run().map_err(AptError::Tool)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_sources_are_narrowed_to_the_suite() {
        let got = from_line(
            "deb [arch=amd64 signed-by=/k.gpg] http://m/debian bookworm main contrib # x",
            "bookworm",
        );
        let want = "Types: deb\nURIs: http://m/debian\nSuites: bookworm\nComponents: main contrib\nSigned-By: /k.gpg\n";
        assert_eq!(got.unwrap(), want);
        for line in [
            "deb-src http://m/debian bookworm main",
            "deb http://m/debian trixie main",
            "deb http://m/debian bookworm-backports main",
            "deb http://m/apt cloud-sdk-bookworm main",
            "deb http://m/flat ./",
            "# deb http://m/debian bookworm main",
            "",
        ] {
            assert_eq!(from_line(line, "bookworm"), None, "{line}");
        }
    }

    #[test]
    fn backports_are_at_the_mirror_of_their_suite() {
        let own = Sources(
            "Types: deb\nURIs: http://m\nSuites: bookworm bookworm-updates\nComponents: main\nSigned-By: /k.gpg\n\n\
             Types: deb\nURIs: http://s\nSuites: bookworm-security\nComponents: main\n"
                .to_owned(),
        );
        let want =
            "Types: deb\nURIs: http://m\nSuites: bookworm-backports\nComponents: main\nSigned-By: /k.gpg\n";
        assert_eq!(own.backports("bookworm").unwrap().0, want);
        let none = Sources("Types: deb\nURIs: http://s\nSuites: bookworm-security\n".to_owned());
        let error = none.backports("bookworm").unwrap_err();
        assert!(matches!(&error, AptError::NoSource(suite) if suite == "bookworm-backports"), "{error}");
    }

    #[test]
    fn stanzas_keep_their_keys_and_lose_other_suites() {
        let text = "# comment\nTypes: deb deb-src\nURIs: http://m\nSuites: bookworm bookworm-backports bookworm-updates\n\
                    Components: main\nSigned-By:\n -----BEGIN\n .\n -----END\n\nTypes: deb\nURIs: http://n\nSuites: nodistro\n\
                    Components: main\n\nTypes: deb\nEnabled: no\nURIs: http://o\nSuites: bookworm\nComponents: main\n";
        let got = from_deb822(text, "bookworm");
        let want = "Types: deb\nURIs: http://m\nSuites: bookworm bookworm-updates\nComponents: main\nSigned-By:\n \
                    -----BEGIN\n .\n -----END\n";
        assert_eq!(got, [want]);
    }
}

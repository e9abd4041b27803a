//! What the Cargo.toml files say: which features the kernel has, and what an
//! application is called.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use toml::Table;

use crate::failure::Failure;

/// The repository's root.
pub fn root() -> &'static Path {
    // xtask/ lies directly in it.
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask)
}

/// The packages that build on the host, and have tests there.
pub const HOST_PACKAGES: [&str; 7] = [
    "xtask",
    "maps",
    "axbench",
    "axbench-aspace",
    "axmachine",
    "axalloc",
    "axmm",
];

/// The features that they have there. With `hal`, a package runs on a kernel's harts.
pub const HOST_FEATURES: &str =
    "axbench/peers,axmachine/devicetree,axmachine/irq,axmachine/serial,axalloc/fault-injection";

/// Those whose tests are a kernel in a process. They are built apart: the features that
/// they bring are not the others'.
pub const PROCESS_PACKAGES: [&str; 1] = ["linux-host"];

/// Those of them whose lock-free parts loom tries in every interleaving.
pub const LOOM_PACKAGES: [&str; 3] = ["axalloc", "axhal", "axmm"];

/// Those in which shuttle tries many schedules of what is too large for that.
pub const SHUTTLE_PACKAGES: [&str; 2] = ["axhal", "axmm"];

/// What tells cargo one of the repository's packages from others of its name: the
/// benchmarks bring some. All of ours have one version, and this tool is ours.
pub fn spec(package: &str) -> String {
    format!("{package}@{}", env!("CARGO_PKG_VERSION"))
}

/// An application: a crate that depends on `axstd`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct App {
    /// Where its Cargo.toml lies; absolute.
    pub dir: PathBuf,
    /// The name of its package.
    pub name: String,
    /// The name of its program.
    pub binary: String,
    /// The features that it can be built with.
    pub features: Vec<String>,
    /// Whether it has `axstd` only with the feature of that name, and else `std`.
    pub chooses_axstd: bool,
}

impl App {
    /// Reads the application in `dir`; says what is wrong with it otherwise, as
    /// the end of a sentence.
    pub fn read(dir: &Path) -> Result<App, String> {
        let path = dir.join("Cargo.toml");
        let text = fs::read_to_string(&path).map_err(|error| match error.kind() {
            ErrorKind::NotFound => "there is no Cargo.toml".to_owned(),
            _ => format!("its Cargo.toml cannot be read: {error}"),
        })?;
        let manifest: Table = text.parse().map_err(|error: toml::de::Error| {
            let message = error.message().replace('\n', ", ");
            format!("its Cargo.toml cannot be parsed: {message}")
        })?;
        let name = manifest
            .get("package")
            .and_then(|package| package.get("name"))
            .and_then(|name| name.as_str())
            .ok_or("its Cargo.toml has no package")?;
        let axstd = manifest
            .get("dependencies")
            .and_then(|all| all.get("axstd"))
            .ok_or("it does not depend on axstd")?;
        let optional = axstd.get("optional").and_then(|word| word.as_bool());
        let binary = manifest
            .get("bin")
            .and_then(|bins| bins.get(0)?.get("name")?.as_str())
            .unwrap_or(name);
        Ok(App {
            dir: fs::canonicalize(dir).map_err(|error| error.to_string())?,
            name: name.to_owned(),
            binary: binary.to_owned(),
            features: features_of(&manifest),
            chooses_axstd: optional == Some(true),
        })
    }

    /// Reads one of the repository's applications, `apps/NAME`.
    pub fn ours(path: &str) -> Result<App, Failure> {
        App::read(&root().join(path))
            .map_err(|reason| Failure::with_status(1, format!("{path}: {reason}")))
    }

    /// Whether it lies in the repository, and so in its workspace.
    pub fn is_ours(&self) -> bool {
        self.dir.starts_with(root())
    }
}

/// The features of the kernel: those of `api/axfeat`.
pub fn kernel_features() -> Result<Vec<String>> {
    let path = root().join("api/axfeat/Cargo.toml");
    let text =
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let manifest: Table = text
        .parse()
        .with_context(|| format!("cannot parse {}", path.display()))?;
    Ok(features_of(&manifest))
}

/// The names under `[features]`, `default` aside.
fn features_of(manifest: &Table) -> Vec<String> {
    manifest
        .get("features")
        .and_then(|features| features.as_table())
        .map(|features| {
            features
                .keys()
                .filter(|name| *name != "default")
                .cloned()
                .collect()
        })
        .unwrap_or_default()
}

/// The names of the crates in a folder of the repository, in order.
pub fn crates_in(folder: &str) -> Vec<String> {
    let Ok(entries) = fs::read_dir(root().join(folder)) else {
        return Vec::new();
    };
    let mut names: Vec<String> = entries
        .flatten()
        .filter(|entry| entry.path().join("Cargo.toml").is_file())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_leave_default_out() {
        let manifest: Table = "[features]\ndefault = []\nsmp = []\nalloc = []\n"
            .parse()
            .unwrap();
        assert_eq!(features_of(&manifest), ["alloc", "smp"]);
        assert!(features_of(&Table::new()).is_empty());
    }

    #[test]
    fn the_kernel_has_features() {
        let features = kernel_features().unwrap();
        assert!(
            features.iter().any(|feature| feature == "smp"),
            "{features:?}"
        );
    }

    #[test]
    fn helloworld_is_an_application() {
        let app = App::read(&root().join("apps/helloworld")).unwrap();
        assert_eq!(
            (app.name.as_str(), app.binary.as_str()),
            ("helloworld", "helloworld")
        );
        assert!(app.is_ours() && !app.chooses_axstd);
        let app = App::read(&root().join("apps/parallel")).unwrap();
        assert!(app.chooses_axstd);
    }

    #[test]
    fn what_is_not_an_application_is_told_apart() {
        assert_eq!(
            App::read(&root().join("docs")),
            Err("there is no Cargo.toml".into())
        );
        assert_eq!(
            App::read(&root().join("xtask")),
            Err("it does not depend on axstd".into())
        );
        assert_eq!(
            App::read(root()),
            Err("its Cargo.toml has no package".into())
        );
    }
}

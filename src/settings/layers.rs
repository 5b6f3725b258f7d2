//! Puts the layers together: the stronger one wins, key by key.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::key::{self, FILE, KAFKA, KAFKA_ENVIRONMENT, KEYS, Secrecy};
use super::{Given, Origin, Settings, SettingsError, SettingsErrors, file, read};
use crate::sql::DatabaseUrl;
use crate::topology::nearest::nearest;

/// The file that is read when none is named.
const USUAL_FILE: &str = "tidemill.yaml";

/// The variable that names another one.
const FILE_VARIABLE: &str = "TIDEMILL_CONFIG";

/// All variables of ours begin so.
const PREFIX: &str = "TIDEMILL_";

/// Variables with our prefix that are no settings: that one, and those of the tests.
const OTHER_VARIABLES: [&str; 4] = [
    FILE_VARIABLE,
    "TIDEMILL_FAILPOINT",
    "TIDEMILL_DATA_DIR",
    "TIDEMILL_KAFKA_VERSION",
];

/// Where settings are looked for.
pub struct Sources<'s> {
    /// The settings file that a flag names.
    pub file: Option<PathBuf>,
    /// Where the usual settings file would be.
    pub directory: &'s Path,
    /// The environment.
    pub environment: &'s BTreeMap<String, String>,
    /// Flags: the setting's name, and its text.
    pub flags: Vec<(String, String)>,
}

/// A setting that is in force, as it may be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Its name.
    pub name: String,
    /// Its text; a secret is hidden, what nobody has set is `-`.
    pub value: String,
    /// Where it comes from.
    pub origin: Origin,
}

/// What is in force, by name.
pub(super) type InForce = BTreeMap<String, Given>;

impl Sources<'_> {
    /// Reads and checks all settings.
    ///
    /// # Errors
    /// All settings that cannot be used.
    pub fn settings(&self) -> Result<Settings, SettingsErrors> {
        let (in_force, errors) = self.in_force();
        read::settings(&in_force, errors)
    }

    /// What is in force, in a fixed order.
    ///
    /// # Errors
    /// As [`Sources::settings`].
    pub fn shown(&self) -> Result<Vec<Shown>, SettingsErrors> {
        let (in_force, errors) = self.in_force();
        read::settings(&in_force, errors)?;
        let own = KEYS.iter().map(|key| key.name);
        let kafka = in_force.keys().map(String::as_str);
        let names = own.chain(kafka.filter(|name| name.starts_with(KAFKA)));
        Ok(names.map(|name| show(name, in_force.get(name))).collect())
    }

    /// Variables that look like settings and are none, each with the name that was probably meant.
    /// Not an error: others use the prefix too (Kubernetes gives every container variables that are
    /// named after services).
    pub fn suspicious_variables(&self) -> Vec<(String, &'static str)> {
        let known = || KEYS.iter().map(|key| key.environment[0]);
        let unknown = self.environment.keys().filter(|name| {
            name.starts_with(PREFIX)
                && !name.starts_with(KAFKA_ENVIRONMENT)
                && !OTHER_VARIABLES.contains(&name.as_str())
                && !known().any(|known| known == name.strip_suffix("_FILE").unwrap_or(name))
        });
        // What they have in common makes no two names alike.
        let bare = |name: &'static str| &name[PREFIX.len()..];
        let meant = |name: &String| {
            let near = nearest(&name[PREFIX.len()..], known().map(bare))?;
            Some((name.clone(), known().find(|known| bare(known) == near)?))
        };
        unknown.filter_map(meant).collect()
    }

    /// What can be used of all layers, and what cannot.
    fn in_force(&self) -> (InForce, Vec<SettingsError>) {
        let mut in_force = InForce::new();
        let (of_file, mut errors) = self.of_file();
        for layer in [defaults(), of_file, self.of_environment(), self.of_flags()] {
            in_force.extend(one_layer(layer, &mut errors));
        }
        (in_force, errors)
    }

    fn of_file(&self) -> (Vec<Given>, Vec<SettingsError>) {
        let named = self.environment.get(FILE_VARIABLE);
        let named = named.filter(|path| !path.is_empty()).map(PathBuf::from);
        if let Some(path) = self.file.clone().or(named) {
            return file::read(&path);
        }
        let usual = self.directory.join(USUAL_FILE);
        match usual.exists() {
            true => file::read(&usual),
            false => (Vec::new(), Vec::new()),
        }
    }

    /// Of several variables of one setting the first counts; empty ones count as unset.
    fn of_environment(&self) -> Vec<Given> {
        let get = |name: &str| self.environment.get(name).filter(|value| !value.is_empty());
        let given = |name: String, variable: &str, value: &str| Given {
            name,
            value: value.to_owned(),
            origin: Origin::Environment(variable.to_owned()),
        };
        let mut all = Vec::new();
        for key in &KEYS {
            let own = key.environment.iter();
            let found = own.filter_map(|name| Some((*name, get(name)?))).next();
            all.extend(found.map(|(variable, value)| given(key.name.to_owned(), variable, value)));
            let variable = format!("{}_FILE", key.environment[0]);
            if key.secrecy != Secrecy::Open
                && let Some(path) = get(&variable)
            {
                // A general variable such as DATABASE_URL gives way to a file of our own.
                all.retain(|other: &Given| {
                    other.name != key.name
                        || other.origin == Origin::Environment(key.environment[0].to_owned())
                });
                all.push(given(format!("{}{FILE}", key.name), &variable, path));
            }
        }
        for (variable, value) in self.environment {
            let Some(property) = variable.strip_prefix(KAFKA_ENVIRONMENT) else {
                continue;
            };
            if OTHER_VARIABLES.contains(&variable.as_str()) {
                continue;
            }
            let (property, suffix) = match property.strip_suffix("_FILE") {
                Some(property) => (property, FILE),
                None => (property, ""),
            };
            let property = property.to_lowercase().replace('_', ".");
            if !value.is_empty() {
                all.push(given(format!("{KAFKA}{property}{suffix}"), variable, value));
            }
        }
        all
    }

    fn of_flags(&self) -> Vec<Given> {
        let given = |(name, value): &(String, String)| Given {
            name: name.clone(),
            value: value.clone(),
            origin: Origin::Flag(match name.starts_with(KAFKA) {
                true => "kafka".to_owned(),
                false => name.replace('_', "-"),
            }),
        };
        self.flags.iter().map(given).collect()
    }
}

fn defaults() -> Vec<Given> {
    let given = |key: &key::Key| {
        Some(Given {
            name: key.name.to_owned(),
            value: key.default?.to_owned(),
            origin: Origin::Default,
        })
    };
    KEYS.iter().filter_map(given).collect()
}

/// Checks the names of a layer and follows references to files.
fn one_layer(layer: Vec<Given>, errors: &mut Vec<SettingsError>) -> InForce {
    let mut known = InForce::new();
    for given in layer {
        let read = resolve(given).and_then(|given| match known.get(&given.name) {
            Some(other) => Err(SettingsError::Twice {
                origin: given.origin,
                name: given.name,
                other: other.origin.clone(),
            }),
            None => Ok(given),
        });
        match read {
            Ok(given) => {
                known.insert(given.name.clone(), given);
            }
            Err(error) => errors.push(error),
        }
    }
    known
}

fn resolve(given: Given) -> Result<Given, SettingsError> {
    let is_property = given
        .name
        .strip_prefix(KAFKA)
        .is_some_and(|p| !p.is_empty());
    let reference = given.name.strip_suffix(FILE);
    match reference {
        Some(name) if key::can_be_in_a_file(name) && (is_property || key::find(name).is_some()) => {
            follow(name, &given)
        }
        _ if is_property || key::find(&given.name).is_some() => Ok(given),
        _ => Err(unknown(given)),
    }
}

/// Reads the file that holds a value. A relative path in a settings file begins where that file is.
fn follow(name: &str, given: &Given) -> Result<Given, SettingsError> {
    let path = match &given.origin {
        Origin::File { path, .. } => path.parent().unwrap_or(Path::new("")).join(&given.value),
        _ => PathBuf::from(&given.value),
    };
    let text = std::fs::read_to_string(&path).map_err(|error| SettingsError::Reference {
        origin: given.origin.clone(),
        name: name.to_owned(),
        path: path.clone(),
        reason: error.to_string(),
    })?;
    Ok(Given {
        name: name.to_owned(),
        value: text.trim_end_matches(['\n', '\r']).to_owned(),
        origin: Origin::Reference {
            path,
            named_by: Box::new(given.origin.clone()),
        },
    })
}

fn unknown(given: Given) -> SettingsError {
    let files = KEYS.iter().filter(|key| key.secrecy != Secrecy::Open);
    let files: Vec<String> = files.map(|key| format!("{}{FILE}", key.name)).collect();
    let names = KEYS.iter().map(|key| key.name);
    let names = names.chain(files.iter().map(String::as_str));
    let help = match nearest(&given.name, names) {
        Some(near) => format!("; did you mean {near}?"),
        None => "; `tidemill settings` lists them all".to_owned(),
    };
    SettingsError::Unknown {
        origin: given.origin,
        name: given.name,
        help,
    }
}

fn show(name: &str, given: Option<&Given>) -> Shown {
    let value = match (given, key::secrecy(name)) {
        (None, _) => "-".to_owned(),
        (Some(given), Secrecy::Open) => given.value.clone(),
        (Some(_), Secrecy::Secret) => "(hidden)".to_owned(),
        (Some(given), Secrecy::Address) => DatabaseUrl::parse(&given.value)
            .map_or("(hidden)".to_owned(), |address| address.to_string()),
    };
    Shown {
        name: name.to_owned(),
        value,
        origin: given.map_or(Origin::Default, |given| given.origin.clone()),
    }
}

#[cfg(test)]
mod tests;

//! Opens keys: where the file is, and its passphrase from a file or a prompt, never from the command line.

use std::fs;
use std::io::{self, IsTerminal};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use dialoguer::{Input, Password};
use redress_ledger::keyfile::{KeyFile, key_path, list_public, read_key, read_public};
use redress_ledger::keyring::KeyRole;
use secrecy::SecretString;

use crate::fail::Fail;
use crate::place::Place;
use crate::read::read_file;

impl Place {
    /// Opens the key of `--as`.
    ///
    /// # Errors
    /// RD0913 naming the flag that is missing; RD0915; RD0571 for a machine's key; [`Fail::KeyFile`].
    pub fn signing_key(&self) -> Result<KeyFile, Fail> {
        match &self.globals.signer {
            Some(signer) => self.signing_key_of(signer),
            None => Err(Fail::own("RD0913", "who signs is missing: give --as KEY")),
        }
    }

    /// Looks whether somebody is named who signs and the key is here, before anything is shown to be signed or a
    /// passphrase is asked for.
    ///
    /// # Errors
    /// RD0913 without `--as`; RD0915 when the key is not here.
    pub fn expect_signer(&self) -> Result<(), Fail> {
        let Some(signer) = &self.globals.signer else {
            return Err(Fail::own("RD0913", "who signs is missing: give --as KEY"));
        };
        let path = self.key_file(signer)?;
        match path.exists() {
            true => Ok(()),
            false => Err(Fail::own(
                "RD0915",
                format!("no such key file: {}", path.display()),
            )),
        }
    }

    /// The person of `--as`, by the public half of the key; none without it.
    ///
    /// # Errors
    /// RD0915 when the key is not here; [`Fail::KeyFile`] when its public half cannot be read.
    pub fn asker(&self) -> Result<Option<String>, Fail> {
        let Some(signer) = &self.globals.signer else {
            return Ok(None);
        };
        let (_, vkey) = read_public(&self.key_file(signer)?.with_extension("pub"))?;
        Ok(Some(vkey.name().to_owned()))
    }

    /// Opens the key of a person: its file, or its name in STATE/keys.
    ///
    /// # Errors
    /// As [`Place::signing_key`].
    pub fn signing_key_of(&self, signer: &str) -> Result<KeyFile, Fail> {
        let path = self.key_file(signer)?;
        let passphrase = self.passphrase(&format!("passphrase of {}", path.display()), false)?;
        let file = read_key(&path, &passphrase)?;
        match file.role {
            KeyRole::Person(_) => Ok(file),
            role => Err(Fail::own(
                "RD0571",
                format!(
                    "a machine's key ({role}) signs nothing that a person decides, {}",
                    path.display()
                ),
            )),
        }
    }

    /// The folder of keys.
    ///
    /// # Errors
    /// As [`Place::state`].
    pub fn keys(&self) -> Result<PathBuf, Fail> {
        Ok(self.state()?.join("keys"))
    }

    fn key_file(&self, signer: &str) -> Result<PathBuf, Fail> {
        let path = Path::new(signer);
        if signer.contains('/') || path.extension().is_some_and(|end| end == "key") {
            return Ok(path.to_owned());
        }
        let keys = self.keys()?;
        let path = key_path(&keys, signer)?;
        if path.exists() {
            return Ok(path);
        }
        let known: Vec<String> = list_public(&keys)
            .unwrap_or_default()
            .iter()
            .map(|(_, vkey)| vkey.name().to_owned())
            .collect();
        let known = if known.is_empty() {
            "none".to_owned()
        } else {
            known.join(", ")
        };
        Err(Fail::own(
            "RD0915",
            format!(
                "no key of this name in {} (known: {known}): {signer}",
                keys.display()
            ),
        ))
    }

    /// The passphrase: of the file that is named, else of a prompt; `twice` for a new one.
    ///
    /// # Errors
    /// RD0913 when nobody can be asked; RD0914.
    pub fn passphrase(&self, prompt: &str, twice: bool) -> Result<SecretString, Fail> {
        if let Some(file) = &self.globals.passphrase_file {
            not_for_others(file)?;
            let bytes = read_file(file, PASSPHRASE_BYTES_MAX)?;
            let text = String::from_utf8(bytes).map_err(|_| {
                Fail::own(
                    "RD0914",
                    format!("the passphrase is not UTF-8 text, file {}", file.display()),
                )
            })?;
            // The line end is the editor's, the rest is the passphrase.
            let text = text.strip_suffix('\n').unwrap_or(&text);
            let text = text.strip_suffix('\r').unwrap_or(text);
            if text.is_empty() || text.contains('\n') {
                let why = format!("a passphrase file holds one line, file {}", file.display());
                return Err(Fail::own("RD0914", why));
            }
            return Ok(SecretString::from(text.to_owned()));
        }
        self.may_ask("--passphrase-file FILE (or REDRESS_KEY_PASSPHRASE_FILE)")?;
        let mut ask = Password::new().with_prompt(prompt.to_owned());
        if twice {
            ask = ask.with_confirmation("once more", "they differ, try again");
        }
        let text = ask.interact().map_err(not_asked)?;
        Ok(SecretString::from(text))
    }

    /// In a terminal the person types `word` to confirm; elsewhere `--non-interactive` and a passphrase file do.
    ///
    /// # Errors
    /// RD0913 when nobody can be asked and nobody said so; RD0916 when something else was typed.
    pub fn confirm(&self, what: &str, word: &str) -> Result<(), Fail> {
        if self.globals.non_interactive && self.globals.passphrase_file.is_some() {
            return Ok(());
        }
        self.may_ask("--non-interactive together with --passphrase-file FILE")?;
        judge(&ask(&format!("to sign {what}, type {word}"))?, word)
    }

    /// Whether a set can be confirmed here. The code is not told where nobody can be asked: whoever gives it must have
    /// read on `page` what it stands for.
    ///
    /// # Errors
    /// RD0913 when it is not given and nobody can be asked.
    pub fn may_confirm(&self, given: Option<&str>, page: &str) -> Result<(), Fail> {
        match given {
            Some(_) => Ok(()),
            None => self.may_ask(&format!("--confirm CODE, the code that `{page}` shows")),
        }
    }

    /// A set is confirmed by its code: typed in a terminal, given by `--confirm` elsewhere; nothing else is a yes.
    ///
    /// # Errors
    /// RD0914 when nothing was entered; RD0916 when something else was typed.
    pub fn confirm_code(&self, what: &str, code: &str, given: Option<&str>) -> Result<(), Fail> {
        let typed = match given {
            Some(given) => given.to_owned(),
            None => ask(&format!("to confirm {what}, type {code}"))?,
        };
        judge(&typed, code)
    }

    fn may_ask(&self, flag: &str) -> Result<(), Fail> {
        let terminal = io::stdin().is_terminal() && io::stderr().is_terminal();
        if terminal && !self.globals.non_interactive {
            return Ok(());
        }
        Err(Fail::own(
            "RD0913",
            format!("nobody can be asked here: give {flag}"),
        ))
    }
}

/// A passphrase that others can read keeps nothing from them. What is no plain file (a pipe, a terminal) has no others.
fn not_for_others(file: &Path) -> Result<(), Fail> {
    // One that is not there is told by whoever reads it.
    let Ok(found) = fs::metadata(file) else {
        return Ok(());
    };
    // A group may read one of root's: so a service manager hands out credentials.
    let (forbidden, needed) = match found.uid() {
        0 => (0o037, "600, or 440 where it is root's"),
        _ => (0o077, "600"),
    };
    if found.is_file() && found.mode() & forbidden != 0 {
        let text = format!(
            "others may open the passphrase file (mode {:o}, needed {needed}): {}",
            found.mode() & 0o7777,
            file.display()
        );
        return Err(Fail::own("RD0914", text));
    }
    Ok(())
}

fn ask(prompt: &str) -> Result<String, Fail> {
    Input::new()
        .with_prompt(prompt)
        .allow_empty(true)
        .interact_text()
        .map_err(not_asked)
}

fn judge(typed: &str, word: &str) -> Result<(), Fail> {
    if typed.trim() == word {
        Ok(())
    } else {
        let text = "something else was typed: nothing was signed";
        Err(Fail::own("RD0916", text))
    }
}

fn not_asked(error: dialoguer::Error) -> Fail {
    Fail::own("RD0914", format!("nothing was entered: {error}"))
}

const PASSPHRASE_BYTES_MAX: usize = 4_096;

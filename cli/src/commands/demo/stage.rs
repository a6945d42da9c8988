//! The folder, the narration and the hands of a demo: it runs the very commands that it shows.
//!
//! **Invariant:** what is shown is what the command printed, and what is counted is what the database answered.

use std::env;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use redress::db::{DbError, Session};
use redress::tokio_postgres::SimpleQueryMessage;
use serde_json::{Value, json};
use tokio::process::Command;
use uuid::Uuid;

use crate::fail::Fail;
use crate::place::Place;
use crate::say::table;
use crate::settings::variables;
use crate::text::plain_lines;

/// Where a demo plays.
#[derive(Debug)]
pub struct Stage {
    /// The folder that it leaves.
    pub folder: PathBuf,
    place: Place,
    program: PathBuf,
    commands: Vec<(String, i32)>,
    scenes: u32,
}

/// What a command printed, and its exit status.
#[derive(Clone, Debug)]
pub struct Ran {
    /// The exit status.
    pub exit: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Stage {
    /// Makes a fresh folder: here, or under the folder for temporary files where this one cannot be written.
    ///
    /// # Errors
    /// RD0921 when there is no place for it.
    pub fn open(place: &Place) -> Result<Self, Fail> {
        let program = env::current_exe().map_err(|error| {
            Fail::own(
                "RD0921",
                format!("this program cannot be found again: {error}"),
            )
        })?;
        let id = Uuid::new_v4().simple().to_string();
        let name = format!("redress-demo-{}", &id[..6]);
        let mut why = String::new();
        for base in [env::current_dir().unwrap_or_default(), env::temp_dir()] {
            let folder = base.join(&name);
            match fs::create_dir(&folder) {
                Ok(()) => {
                    return Ok(Self {
                        folder,
                        place: place.clone(),
                        program,
                        commands: Vec::new(),
                        scenes: 0,
                    });
                }
                Err(error) => why = format!("{error}, {}", folder.display()),
            }
        }
        Err(Fail::own(
            "RD0921",
            format!("no folder for the demo can be made: {why}"),
        ))
    }

    /// The state folder of the demo.
    pub fn state(&self) -> PathBuf {
        self.folder.join("state")
    }

    /// Makes the state folder with a `redress.toml` that says nothing: it is found before any file of the machine.
    ///
    /// # Errors
    /// RD0921 when it cannot be written.
    pub fn stand_apart(&self) -> Result<(), Fail> {
        let state = self.state();
        fs::create_dir_all(&state)
            .map_err(|error| Fail::own("RD0921", format!("{error}, {}", state.display())))?;
        put(&state.join("redress.toml"), "# of this demo\n")
    }

    /// Begins a scene.
    ///
    /// # Errors
    /// [`Fail`] when nothing can be printed.
    pub fn scene(&mut self, title: &str) -> Result<(), Fail> {
        self.scenes += 1;
        self.tell(&format!("\n== {}. {title}", self.scenes))
    }

    /// Says something: on standard output, or on standard error where that carries JSON.
    ///
    /// # Errors
    /// [`Fail`] when nothing can be printed.
    pub fn tell(&self, text: &str) -> Result<(), Fail> {
        if self.place.say.is_json() {
            // The value on standard output is the result; the story is talk.
            let _ = writeln!(std::io::stderr().lock(), "{}", plain_lines(text));
            return Ok(());
        }
        self.place.say.line(text)
    }

    /// Runs the command that is shown, shows what it printed, and insists on its exit status.
    ///
    /// # Errors
    /// RD0922 when it ended otherwise.
    pub async fn run(&mut self, arguments: &[&str], expected: i32) -> Result<Ran, Fail> {
        let shown = format!(
            "redress {}",
            arguments
                .iter()
                .map(|text| quoted(text))
                .collect::<Vec<_>>()
                .join(" ")
        );
        self.tell(&format!("$ {shown}"))?;
        let ran = self.quietly(arguments).await?;
        self.commands.push((shown.clone(), ran.exit));
        for text in [&ran.err, &ran.out] {
            for line in text.lines() {
                self.tell(&format!("  {line}"))?;
            }
        }
        if ran.exit != 0 {
            self.tell(&format!("  (exit {})", ran.exit))?;
        }
        self.insist(
            ran.exit == expected,
            &format!("`{shown}` ended with {}, not with {expected}", ran.exit),
        )?;
        Ok(ran)
    }

    /// Runs a command without showing it, with JSON on its output.
    ///
    /// # Errors
    /// RD0922 when it fails or prints no JSON.
    pub async fn ask(&self, arguments: &[&str]) -> Result<Value, Fail> {
        let ran = self.quietly(&[arguments, &["--json"]].concat()).await?;
        let asked = arguments.join(" ");
        serde_json::from_str(&ran.out).map_err(|error| {
            broken(&format!(
                "`redress {asked} --json` printed no JSON ({error})"
            ))
        })
    }

    async fn quietly(&self, arguments: &[&str]) -> Result<Ran, Fail> {
        let mut command = Command::new(&self.program);
        for other in variables().into_iter().chain(["RUST_LOG"]) {
            command.env_remove(other);
        }
        command
            .args(arguments)
            .current_dir(&self.folder)
            .env("REDRESS_STATE_DIR", self.state())
            .env(
                "REDRESS_KEY_PASSPHRASE_FILE",
                self.folder.join("passphrase"),
            )
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .kill_on_drop(true);
        let output = command
            .output()
            .await
            .map_err(|error| Fail::own("RD0921", format!("the command cannot be run: {error}")))?;
        Ok(Ran {
            // By a signal: no status of ours.
            exit: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// Asks the database, shows question and answer, and gives the rows.
    ///
    /// # Errors
    /// [`Fail::Engine`] when the database says no.
    pub async fn query(&self, session: &Session, sql: &str) -> Result<Vec<Vec<String>>, Fail> {
        self.tell(&format!("sql> {sql}"))?;
        let (header, rows) = rows_of(session, sql).await?;
        let header: Vec<&str> = header.iter().map(String::as_str).collect();
        for line in table(&header, &[], &rows, None).lines() {
            self.tell(&format!("  {line}"))?;
        }
        Ok(rows)
    }

    /// Stops the demo when a promise is not kept.
    ///
    /// # Errors
    /// RD0922 unless `kept`.
    pub fn insist(&self, kept: bool, promise: &str) -> Result<(), Fail> {
        if kept { Ok(()) } else { Err(broken(promise)) }
    }

    /// Writes a file into the folder.
    ///
    /// # Errors
    /// RD0921 when it cannot be written.
    pub fn write(&self, name: &str, text: &str) -> Result<(), Fail> {
        put(&self.folder.join(name), text)
    }

    /// Writes the commands of this demo into its folder, as a script that can be read.
    ///
    /// # Errors
    /// RD0921 when it cannot be written.
    pub fn write_commands(&self) -> Result<(), Fail> {
        let mut text = format!(
            "# What the demo ran, in {}; the number is the exit status. `. ./env` makes these commands yours.\n",
            self.folder.display()
        );
        for (command, exit) in &self.commands {
            text.push_str(&format!("{command}    # {exit}\n"));
        }
        self.write("commands.txt", &text)?;
        let env = format!(
            "PATH={}:$PATH\nunset {}\nexport REDRESS_STATE_DIR={}\nexport REDRESS_KEY_PASSPHRASE_FILE={}\n",
            quoted(
                &self
                    .program
                    .parent()
                    .unwrap_or(Path::new("/"))
                    .display()
                    .to_string()
            ),
            variables().join(" "),
            quoted(&self.state().display().to_string()),
            quoted(&self.folder.join("passphrase").display().to_string())
        );
        self.write("env", &env)
    }

    /// The result as JSON.
    pub fn result(&self) -> Value {
        let commands: Vec<Value> = self
            .commands
            .iter()
            .map(|(command, exit)| json!({"command": command, "exit": exit}))
            .collect();
        json!({"schema": 1, "folder": self.folder, "commands": commands, "errors": []})
    }
}

/// Rows of a question as text, with the names of their columns.
async fn rows_of(session: &Session, sql: &str) -> Result<(Vec<String>, Vec<Vec<String>>), Fail> {
    let messages = session
        .simple_query(sql)
        .await
        .map_err(|error| redress::Error::from(DbError::from(error)))?;
    let (mut header, mut rows) = (Vec::new(), Vec::new());
    for message in messages {
        match message {
            SimpleQueryMessage::RowDescription(columns) => {
                header = columns
                    .iter()
                    .map(|column| column.name().to_owned())
                    .collect();
            }
            SimpleQueryMessage::Row(row) => {
                let cells =
                    (0..row.len()).map(|index| row.get(index).unwrap_or_default().to_owned());
                rows.push(cells.collect());
            }
            _ => {}
        }
    }
    Ok((header, rows))
}

fn put(path: &Path, text: &str) -> Result<(), Fail> {
    fs::write(path, text).map_err(|error| {
        Fail::own(
            "RD0921",
            format!("cannot write: {error}, {}", path.display()),
        )
    })
}

/// A promise that was not kept.
pub fn broken(promise: &str) -> Fail {
    Fail::own("RD0922", format!("not as promised: {promise}"))
}

/// A word as a shell would need it.
fn quoted(word: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_./:=@%+,".contains(&b);
    if !word.is_empty() && word.bytes().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shown_word_can_be_pasted_into_a_shell() {
        let check = |word: &str, shown: &str| assert_eq!(quoted(word), shown);
        check("--as", "--as");
        check("the count", "'the count'");
        check("it's", "'it'\\''s'");
        check("", "''");
    }
}

//! How the daemon wants cargo to be started: its `go`, read and carried out.

use std::ffi::OsString;

use crate::json::Value;
use crate::place;
use crate::places;
use crate::sys::{self, Env, Fd};
use crate::waitline;

#[derive(Debug)]
pub struct Plan {
    pub build: Vec<u8>,
    pub argv: Vec<OsString>,
    env: Vec<(Vec<u8>, Vec<u8>)>,
    unset: Vec<Vec<u8>>,
    pub notes: Vec<Vec<u8>>,
    pub target_dir: Option<Vec<u8>>,
    pub jobserver: Option<Vec<u8>>,
    /// How many tokens the jobserver was made with, if the daemon says it.
    pub tokens: Option<i64>,
    /// The `cgroup.procs` of the cgroup that builds run in.
    cgroup: Option<Vec<u8>>,
    oom_score_adj: Option<i64>,
    /// The `cgroup.procs` of the cgroup that weighs builds, where that is another one.
    cpu_cgroup: Option<Vec<u8>>,
    nice: Option<i64>,
    /// The daemon may have the build begun anew, and says what becomes of one that has failed.
    pub requeues: bool,
}

impl Plan {
    /// Read a `go`; None when a field is missing, of another type, or cannot be handed to cargo.
    pub fn read(value: &Value) -> Option<Plan> {
        let texts = |name: &str| value.get(name).map_or(Some(Vec::new()), Value::texts);
        let env = match value.get("env") {
            None => Vec::new(),
            Some(Value::Object(rows)) => rows
                .iter()
                .map(|(name, value)| Some((variable(name)?, passable(value.text()?)?)))
                .collect::<Option<Vec<_>>>()?,
            Some(_) => return None,
        };
        let argv = value.get("argv")?.texts()?;
        let jobserver = match value.get("jobserver") {
            None | Some(Value::Null) => None,
            Some(given) => Some(passable(given.get("path")?.text()?)?),
        };
        let tokens = value
            .get("jobserver")
            .and_then(|given| given.get("tokens"))
            .and_then(Value::number);
        let path = |name: &str| match value.get(name) {
            None | Some(Value::Null) => Some(None),
            Some(given) => Some(Some(passable(given.text()?)?)),
        };
        let number = |name: &str| match value.get(name) {
            None | Some(Value::Null) => Some(None),
            Some(given) => Some(Some(given.number()? as i64)),
        };
        let target_dir = match value.get("target_dir") {
            None | Some(Value::Null) => None,
            Some(given) => Some(given.text()?.to_vec()),
        };
        Some(Plan {
            build: value.get("build")?.text()?.to_vec(),
            argv: argv
                .iter()
                .map(|word| passable(word).map(|word| sys::os_string(&word)))
                .collect::<Option<Vec<_>>>()?,
            env,
            unset: texts("unset")?,
            notes: texts("notes")?,
            target_dir,
            jobserver,
            tokens: tokens.map(|count| count as i64),
            cgroup: path("cgroup")?,
            oom_score_adj: number("oom_score_adj")?,
            cpu_cgroup: path("cpu_cgroup")?,
            nice: number("nice")?,
            requeues: matches!(value.get("requeues"), Some(Value::Bool(true))),
        })
    }

    /// Open the job tokens. Without them the rest of the plan holds all the same.
    pub fn open_jobserver(&mut self) -> Option<Jobserver> {
        match Jobserver::open(self.jobserver.as_deref()?) {
            Ok(jobserver) => Some(jobserver),
            Err(error) => {
                waitline::say(&format!("no jobserver: {error}; cargo makes its own"));
                self.jobserver = None;
                None
            }
        }
    }

    /// Go where builds belong; whether the cgroup was entered, None when there is none.
    pub fn enter_place(&self) -> Option<bool> {
        if let Some(offer) = self.oom_score_adj {
            place::offer_first(offer);
        }
        if let Some(nice) = self.nice {
            sys::step_back(nice.clamp(0, 19) as i32);
        }
        place::enter(self.cpu_cgroup.as_deref()); // how cores are shared is no part of the answer
        place::enter(self.cgroup.as_deref())
    }

    pub fn apply(&self, env: &mut Env, jobserver: Option<&Jobserver>) {
        self.unset.iter().for_each(|name| env.unset(name));
        self.env
            .iter()
            .for_each(|(name, value)| env.set(name, value));
        if let Some(jobserver) = jobserver {
            env.set(b"CARGO_MAKEFLAGS", jobserver.makeflags().as_bytes());
        }
    }
}

/// Bytes that execve(2) can pass on: a NUL would end them.
fn passable(bytes: &[u8]) -> Option<Vec<u8>> {
    (!bytes.contains(&0)).then(|| bytes.to_vec())
}

fn variable(name: &[u8]) -> Option<Vec<u8>> {
    let is_name = !name.is_empty() && !name.contains(&b'=');
    passable(name).filter(|_| is_name)
}

/// The build's FIFO of job tokens, handed over by descriptors: older GNU make dies of `fifo:`.
pub struct Jobserver {
    reader: Fd,
    writer: Fd,
}

impl Jobserver {
    fn open(path: &[u8]) -> std::io::Result<Jobserver> {
        use std::os::unix::fs::FileTypeExt;
        // Opening anything else read-write could do harm.
        if !std::fs::metadata(places::path_from(path))?
            .file_type()
            .is_fifo()
        {
            return Err(std::io::Error::new(
                std::io::ErrorKind::InvalidInput,
                "not a FIFO",
            ));
        }
        Ok(Jobserver {
            reader: sys::open_inheritable(path)?,
            writer: sys::open_inheritable(path)?,
        })
    }

    fn makeflags(&self) -> String {
        let (reader, writer) = (self.reader.0, self.writer.0);
        format!("-j --jobserver-fds={reader},{writer} --jobserver-auth={reader},{writer}")
    }
}

#[cfg(test)]
mod tests {
    use super::Plan;
    use crate::json::parse;

    fn reads(changed: &str) -> bool {
        let go = format!(r#"{{"build":"7","argv":["build"]{changed}}}"#);
        Plan::read(&parse(go.as_bytes()).unwrap()).is_some()
    }

    #[test]
    fn a_go_is_followed_only_when_all_its_fields_are_of_their_type() {
        // The last one of a name counts.
        let whole = r#","env":{"A":"b=c","D":""},"unset":["X"],"notes":["n"],"target_dir":"/t""#;
        assert!(reads(""));
        assert!(reads(whole));
        assert!(reads(r#","target_dir":null,"jobserver":null,"later":[1]"#));
        assert!(reads(r#","jobserver":{"path":"/f"}"#));
        assert!(reads(r#","cgroup":"/c/cgroup.procs","oom_score_adj":500"#));
        assert!(reads(r#","cgroup":null,"oom_score_adj":null"#));
        assert!(reads(r#","cpu_cgroup":"/c/cgroup.procs","nice":10"#));
        assert!(reads(r#","cpu_cgroup":null,"nice":null"#));
        for (name, values) in [
            ("build", &["7", "null", "[]"][..]),
            (
                "argv",
                &["null", r#""build""#, "[1]", r#"["a\u0000b"]"#, "{}"],
            ),
            (
                "env",
                &[
                    "null",
                    "[]",
                    r#"{"A":1}"#,
                    r#"{"A":null}"#,
                    r#"{"A":"\u0000"}"#,
                ],
            ),
            (
                "env",
                &[r#"{"":"x"}"#, r#"{"A=B":"x"}"#, r#"{"A\u0000":"x"}"#],
            ),
            ("unset", &["null", r#""X""#, "[null]", "{}"]),
            ("notes", &["null", r#""n""#, "[1]", "7"]),
            ("target_dir", &["7", "[]", "false"]),
            ("cgroup", &["7", "[]", r#""\u0000""#]),
            ("oom_score_adj", &[r#""500""#, "[]", "true"]),
            ("cpu_cgroup", &["7", "[]", r#""\u0000""#]),
            ("nice", &[r#""5""#, "[]", "true"]),
            (
                "jobserver",
                &[
                    r#""/f""#,
                    "{}",
                    r#"{"path":1}"#,
                    "true",
                    r#"{"path":"\u0000"}"#,
                ],
            ),
        ] {
            for value in values {
                let changed = format!(r#","{name}":{value}"#);
                assert!(!reads(&changed), "{changed}");
            }
        }
    }
}

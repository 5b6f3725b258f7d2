//! A server of a test's own, a database or Kafka, to be stopped in every way without disturbing
//! others.

use std::process::Command;

use super::kafka;

/// Where other servers are: a server of a test's own is another one.
const NOT_INHERITED: [&str; 5] = [
    "KAFKA_BOOTSTRAP",
    "TIDEMILL_OWN_KAFKA",
    "DATABASE_URL",
    "TIDEMILL_TEST_MYSQL_URL",
    "TIDEMILL_TEST_MARIADB_URL",
];

const SCRIPT: &str = "the services script";

/// A server that is stopped with this value.
pub struct OwnServer {
    services: String,
    folder: tempfile::TempDir,
    name: String,
}

impl OwnServer {
    /// Starts `mysql`, `mariadb` or `kafka`; none when the services are not ours to start.
    pub fn start(name: &str) -> Option<OwnServer> {
        OwnServer::start_with(name, &[])
    }

    /// The same with settings of `scripts/services`.
    pub fn start_with(name: &str, settings: &[(&str, &str)]) -> Option<OwnServer> {
        let services = std::env::var("TIDEMILL_TEST_SERVICES").ok()?;
        let own_kafka = std::env::var("TIDEMILL_OWN_KAFKA").ok();
        if name == "kafka" && (own_kafka.is_none() || own_kafka != kafka()) {
            return None;
        }
        let folder = tempfile::tempdir().expect("a temp directory");
        let server = OwnServer {
            services,
            folder,
            name: name.to_owned(),
        };
        let mut start = server.command(&["start", name]);
        start.envs(settings.iter().copied());
        server.succeeds(start);
        Some(server)
    }

    /// Where it is: the URL of a database, host and port of Kafka.
    pub fn address(&self) -> String {
        let output = self.command(&["env"]).output().expect(SCRIPT);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let variable = match self.name.as_str() {
            "kafka" => "KAFKA_BOOTSTRAP=".to_owned(),
            database => format!("TIDEMILL_TEST_{}_URL=", database.to_uppercase()),
        };
        let value = text
            .lines()
            .find_map(|line| line.split_once(&variable).map(|(_, v)| v));
        value
            .expect("it was started")
            .trim_matches(['\'', '"'])
            .to_owned()
    }

    /// Ends it at once, as `kill -9` does.
    pub fn kill(&self) {
        self.act("kill");
    }

    /// Starts it again on the same port with the same data.
    pub fn restart(&self) {
        self.act("restart");
    }

    /// Lets it stand still, as `kill -STOP` does.
    pub fn pause(&self) {
        self.act("pause");
    }

    /// Lets it go on after a pause.
    pub fn resume(&self) {
        self.act("resume");
    }

    fn act(&self, action: &str) {
        self.succeeds(self.command(&[action, &self.name]));
    }

    fn succeeds(&self, mut command: Command) {
        let output = command.output().expect(SCRIPT);
        assert!(
            output.status.success(),
            "{command:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.services);
        command
            .args(arguments)
            .env("TIDEMILL_SERVICES_DIR", self.folder.path().join("services"));
        for variable in NOT_INHERITED {
            command.env_remove(variable);
        }
        command
    }
}

impl Drop for OwnServer {
    fn drop(&mut self) {
        let _ = self.command(&["stop"]).output();
    }
}

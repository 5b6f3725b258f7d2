//! A table on a real Kafka: rows come, change and go, a member is killed, and what passes a filter is
//! in a table of the database and nothing else.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::harness::{Raw, Run, Tidemill, Topics, stage, wait_until};

const TOPOLOGY: &str = "
app: NAME
nodes:
  changes:
    source:
      topic: NAME
      key: id
      null_values: pass
      fields: { id: string, age: int, team: string }
  users: { table: { from: changes } }
  adults: { filter: { from: users, where: age >= 18 } }
  doubled: { map: { from: adults, set: { twice: age * 2 } } }
  adult_table:
    sql: { from: doubled, table: adults, key: id, columns: { id: id, team: team, twice: twice } }
  adult_topic: { kafka: { from: doubled, topic: NAME.adults, fields: { twice: twice } } }
";

const TABLE: &str =
    "CREATE TABLE adults (id VARBINARY(20) PRIMARY KEY, team VARBINARY(20), twice BIGINT)";

const USERS: usize = 200;

const PATIENCE: Duration = Duration::from_secs(90);

/// What the table should hold, by id: team and twice the age.
type Rows = BTreeMap<String, (String, i64)>;

/// So many changes, and what they make of the rows.
fn changes(random: &mut StdRng, count: usize, rows: &mut Rows) -> Vec<Raw> {
    let mut change = |_| {
        let id = format!("user{}", random.random_range(0..USERS));
        let (age, team) = (random.random_range(0..40), random.random_range(0..5));
        rows.remove(&id);
        let value = match random.random_range(0..8) {
            0 => None,
            _ => {
                if age >= 18 {
                    rows.insert(id.clone(), (format!("team{team}"), age * 2));
                }
                Some(format!(r#"{{"id":"{id}","age":{age},"team":"team{team}"}}"#).into_bytes())
            }
        };
        Raw {
            partition: None,
            key: Some(id.into_bytes()),
            value,
        }
    };
    (0..count).map(&mut change).collect()
}

fn stored(run: &Run) -> Rows {
    let rows = run.database.rows("SELECT id, team, twice FROM adults");
    let rows = rows.unwrap_or_default().into_iter();
    rows.map(|mut row| {
        let twice = row.remove(2).parse().expect("a number");
        (row.remove(0), (row.remove(0), twice))
    })
    .collect()
}

#[test]
fn rows_come_change_and_go_in_the_database_as_in_the_table() {
    let Some(stage) = stage("table") else {
        return;
    };
    for server in 0..stage.servers.len() {
        let run = Run::of(TOPOLOGY, &stage.bootstrap, stage.server(server).1);
        run.database.run(TABLE);
        let topics = Topics::connect(&stage.bootstrap);
        topics.create(&run.name, 4, 1 << 20);
        let mut random = StdRng::seed_from_u64(server as u64);
        let mut expected = Rows::new();
        topics.write(&run.name, &changes(&mut random, 5_000, &mut expected));
        let more = ["--session-timeout", "6s", "--http", "off"];
        let mut members: Vec<Tidemill> = (0..2)
            .map(|n| run.member_with(&format!("member-{n}"), &more, &[]))
            .collect();
        wait_until("the first rows", PATIENCE, || !stored(&run).is_empty());
        members[0].kill();
        topics.write(&run.name, &changes(&mut random, 5_000, &mut expected));
        members[0] = run.member_with("after", &more, &[]);
        let began = Instant::now();
        while stored(&run) != expected {
            assert!(
                !members.iter_mut().any(Tidemill::has_ended),
                "{}",
                members[1].log()
            );
            if began.elapsed() > PATIENCE {
                assert_eq!(stored(&run), expected);
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        members.iter_mut().for_each(Tidemill::stop);
        // The last record of each key says the same.
        let mut last = BTreeMap::new();
        for record in topics.read(&format!("{}.adults", run.name)) {
            let key = String::from_utf8(record.key.expect("a key")).expect("UTF-8");
            last.insert(key, record.value);
        }
        last.retain(|_, value| value.is_some());
        assert!(last.keys().eq(expected.keys()));
    }
}

//! Who writes a table, by the ledger: two that do not know of each other overwrite each other's rows.

use super::connection::Session;
use super::datum::Datum;
use super::fit::{FindingCode, TableFinding};
use super::ledger::LEDGER;
use super::rows::Cell;

/// A sink that the ledger knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Writer {
    pub app: String,
    pub sink: String,
}

impl Writer {
    pub fn new(app: &str, sink: &str) -> Writer {
        Writer {
            app: app.to_owned(),
            sink: sink.to_owned(),
        }
    }
}

/// The sinks that have claimed partitions for a table, by application and name.
pub(super) async fn writers_of(
    session: &mut Session,
    table: &str,
) -> Result<Vec<Writer>, sqlx::Error> {
    let sql =
        format!("SELECT DISTINCT app, sink FROM {LEDGER} WHERE table_name = ? ORDER BY app, sink");
    let found = session.rows(&sql, &[Cell::Text(table)]).await?;
    let writer = |row: Vec<Datum>| {
        let [app, sink]: [Datum; 2] = row.try_into().expect("as many columns as the query names");
        Writer {
            app: app.into_text(),
            sink: sink.into_text(),
        }
    };
    Ok(found.rows.into_iter().map(writer).collect())
}

/// What it means for the sink `own` that these write its table. An error where it would be the
/// first of its application beside another one. A warning where it has written before, since the
/// rows are mixed already and stopping would mend nothing, and beside a sink of its own application:
/// the checker lets no two write one table, so that is what the node was called before.
pub(super) fn compare_writers(table: &str, own: &Writer, writers: &[Writer]) -> Vec<TableFinding> {
    let is_new = !writers.contains(own);
    let others = writers.iter().filter(|writer| *writer != own);
    let finding = |other: &Writer| match is_new && other.app != own.app {
        true => refusal(table, other),
        false => warning(table, other),
    };
    others.map(finding).collect()
}

fn refusal(table: &str, Writer { app, sink }: &Writer) -> TableFinding {
    let message = format!(
        "the application {app} writes table {table}, too (its sink {sink}): of rows with the same key the last one written would stand"
    );
    let fix = "give this sink a table of its own; or set `shared: true` on its node, if both are to write \
               this one, or it takes over from the other";
    TableFinding::error(FindingCode::AnotherWriter, message, Some(fix.to_owned()))
}

fn warning(table: &str, Writer { app, sink }: &Writer) -> TableFinding {
    let message = format!("the application {app} writes table {table}, too (its sink {sink})");
    let fix = format!(
        "set `shared: true` on the node, if that is meant; if the other is no more: \
         DELETE FROM {LEDGER} WHERE app = '{app}' AND sink = '{sink}';"
    );
    TableFinding::warning(FindingCode::AnotherWriter, message, Some(fix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newcomer_is_refused_beside_another_application_only() {
        let writer = |name: &str| {
            let (app, sink) = name.split_once('/').expect("app/sink");
            Writer::new(app, sink)
        };
        #[track_caller]
        fn check(found: &[TableFinding], expected: &[&str]) {
            let kinds = found.iter().map(|finding| match finding.error {
                true => "refused",
                false => "warned",
            });
            assert_eq!(kinds.collect::<Vec<_>>(), expected);
        }
        let own = writer("edits/table");
        let found = |writers: &[&str]| {
            let writers: Vec<Writer> = writers.iter().map(|name| writer(name)).collect();
            compare_writers("t", &own, &writers)
        };
        check(&found(&[]), &[]);
        check(&found(&["edits/table"]), &[]);
        check(&found(&["edits/old_name"]), &["warned"]);
        check(&found(&["other/table"]), &["refused"]);
        check(
            &found(&["edits/old_name", "other/table"]),
            &["warned", "refused"],
        );
        check(&found(&["edits/table", "other/table"]), &["warned"]);
    }
}

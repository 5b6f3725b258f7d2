-- What Tidemill itself needs in every database that it writes to; SQLite 3.35 and later.
-- Times are texts such as 2026-05-05T11:17:40.822Z.

CREATE TABLE IF NOT EXISTS tidemill_ledger (
  app          TEXT     NOT NULL,
  sink         TEXT     NOT NULL,
  topic        TEXT     NOT NULL,
  partition_id BIGINT   NOT NULL,
  table_name   TEXT     NOT NULL,
  next_offset  BIGINT   NULL,
  writer_epoch BIGINT   NOT NULL,
  updated_at   DATETIME NOT NULL,
  PRIMARY KEY (app, sink, topic, partition_id)
);

CREATE INDEX IF NOT EXISTS tidemill_ledger_by_table ON tidemill_ledger (table_name);

CREATE TABLE IF NOT EXISTS tidemill_gaps (
  source          TEXT     NOT NULL,
  topic           TEXT     NOT NULL,
  partition_id    BIGINT   NOT NULL,
  expected_offset BIGINT   NOT NULL,
  found_offset    BIGINT   NOT NULL,
  kind            TEXT     NOT NULL,
  missing         BIGINT   NOT NULL,
  after_time      DATETIME NULL,
  before_time     DATETIME NULL,
  detected_at     DATETIME NOT NULL,
  PRIMARY KEY (source, topic, partition_id, expected_offset, found_offset)
);

CREATE INDEX IF NOT EXISTS tidemill_gaps_by_time ON tidemill_gaps (detected_at);

CREATE VIEW IF NOT EXISTS v_tidemill_ledger AS SELECT * FROM tidemill_ledger;

CREATE VIEW IF NOT EXISTS v_tidemill_gaps AS SELECT * FROM tidemill_gaps;

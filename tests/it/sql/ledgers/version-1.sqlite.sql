-- A ledger as version 0.1 left it. It stays as it is: every later version reads it.
CREATE TABLE tidemill_ledger (
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

INSERT INTO tidemill_ledger VALUES
  ('app', 'sink', 'changes', 0, 'edits', 3,    7, '2026-12-01T06:00:00.123Z'),
  ('app', 'sink', 'changes', 1, 'edits', NULL, 2, '2026-12-01T06:00:01.000Z'),
  ('app', 'other', 'changes', 0, 'elsewhere', 9000000000, 1, '2026-11-30T23:59:59.999Z');

INSERT INTO edits VALUES ('a', '1970-01-01T00:01:00.000Z', 1, NULL), ('b', '1970-01-01T00:01:00.000Z', 2, NULL);

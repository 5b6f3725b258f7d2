-- A ledger as version 0.1 left it. It stays as it is: every later version reads it.
CREATE TABLE tidemill_ledger (
  app          VARBINARY(255) NOT NULL,
  sink         VARBINARY(255) NOT NULL,
  topic        VARBINARY(255) NOT NULL,
  partition_id INT            NOT NULL,
  table_name   VARBINARY(64)  NOT NULL,
  next_offset  BIGINT         NULL,
  writer_epoch BIGINT         NOT NULL,
  updated_at   DATETIME(3)    NOT NULL,
  PRIMARY KEY (app, sink, topic, partition_id),
  KEY by_table (table_name)
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

INSERT INTO tidemill_ledger VALUES
  ('app', 'sink', 'changes', 0, 'edits', 3,    7, '2026-12-01 06:00:00.123'),
  ('app', 'sink', 'changes', 1, 'edits', NULL, 2, '2026-12-01 06:00:01.000'),
  ('app', 'other', 'changes', 0, 'elsewhere', 9000000000, 1, '2026-11-30 23:59:59.999');

INSERT INTO edits VALUES ('a', '1970-01-01 00:01:00.000', 1, NULL), ('b', '1970-01-01 00:01:00.000', 2, NULL);

-- What Tidemill itself needs in every database that it writes to.
-- MySQL 8.0.20 and later, MariaDB 10.6 and later. Every statement can be repeated.

-- How far each partition of each sink has come. It moves in the transaction that writes the rows.
CREATE TABLE IF NOT EXISTS tidemill_ledger (
  app          VARBINARY(255) NOT NULL,
  sink         VARBINARY(255) NOT NULL,
  topic        VARBINARY(255) NOT NULL,
  partition_id INT            NOT NULL,
  table_name   VARBINARY(64)  NOT NULL,
  next_offset  BIGINT         NULL      COMMENT 'everything below is in the table; NULL: nothing written yet',
  writer_epoch BIGINT         NOT NULL  COMMENT 'raised by each claim; an older writer matches no row',
  updated_at   DATETIME(3)    NOT NULL,
  PRIMARY KEY (app, sink, topic, partition_id),
  KEY by_table (table_name)
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- Events that a source has not delivered, as far as its own numbering tells.
CREATE TABLE IF NOT EXISTS tidemill_gaps (
  source          VARBINARY(255) NOT NULL,
  topic           VARBINARY(255) NOT NULL,
  partition_id    INT            NOT NULL,
  expected_offset BIGINT         NOT NULL,
  found_offset    BIGINT         NOT NULL,
  kind            VARCHAR(16)    NOT NULL  COMMENT 'gap: events are missing; jump: the numbering changed',
  missing         BIGINT         NOT NULL,
  after_time      DATETIME(3)    NULL      COMMENT 'the event before',
  before_time     DATETIME(3)    NULL      COMMENT 'the event behind',
  detected_at     DATETIME(3)    NOT NULL,
  PRIMARY KEY (source, topic, partition_id, expected_offset, found_offset),
  KEY by_time (detected_at)
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE OR REPLACE SQL SECURITY INVOKER VIEW v_tidemill_ledger AS
SELECT CONVERT(app USING utf8mb4) AS app, CONVERT(sink USING utf8mb4) AS sink,
       CONVERT(topic USING utf8mb4) AS topic, partition_id,
       CONVERT(table_name USING utf8mb4) AS table_name, next_offset, writer_epoch, updated_at
FROM tidemill_ledger;

CREATE OR REPLACE SQL SECURITY INVOKER VIEW v_tidemill_gaps AS
SELECT CONVERT(source USING utf8mb4) AS source, CONVERT(topic USING utf8mb4) AS topic, partition_id,
       expected_offset, found_offset, kind, missing, after_time, before_time, detected_at
FROM tidemill_gaps;

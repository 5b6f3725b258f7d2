-- Tables of topology/wikimedia.yaml. Every statement can be repeated.
--
-- Names (wiki, user, title) are VARBINARY: every collation that both servers have makes some
-- distinct names equal. The views v_… show them as text.

-- Every event as it came. The key is the event's id; its time stands first because a partitioned
-- table wants the partitions' column in every unique key (the time of one event never changes),
-- and because rows are then appended in the order in which they arrive.
CREATE TABLE IF NOT EXISTS recentchange (
  event_time       DATETIME(3)    NOT NULL  COMMENT 'meta.dt',
  event_id         VARBINARY(255) NOT NULL  COMMENT 'meta.id',
  wiki             VARBINARY(255) NULL      COMMENT 'database name, such as enwiki',
  type             VARCHAR(255)   NULL      COMMENT 'edit, new, log, categorize',
  namespace        INT            NULL,
  title            VARBINARY(1024) NULL,
  user             VARBINARY(255) NULL      COMMENT 'name, temporary account or address; absent when redacted',
  bot              BOOLEAN        NULL,
  minor            BOOLEAN        NULL,
  patrolled        BOOLEAN        NULL,
  rc_id            BIGINT         NULL      COMMENT 'id; some log events have none',
  log_id           BIGINT         NULL,
  log_type         VARCHAR(255)   NULL,
  log_action       VARCHAR(255)   NULL,
  length_old       BIGINT         NULL,
  length_new       BIGINT         NULL,
  revision_old     BIGINT         NULL,
  revision_new     BIGINT         NULL,
  delta            BIGINT         NULL      COMMENT 'length_new - length_old, a missing side counts as 0',
  comment          TEXT           NULL,
  server_name      VARCHAR(255)   NULL,
  domain           VARCHAR(255)   NULL      COMMENT 'meta.domain',
  request_id       VARCHAR(255)   NULL      COMMENT 'meta.request_id: one for all events of a request',
  source_topic     VARCHAR(255)   NULL      COMMENT 'meta.topic',
  source_partition INT            NULL      COMMENT 'meta.partition',
  source_offset    BIGINT         NULL      COMMENT 'meta.offset: contiguous per topic and partition',
  payload          MEDIUMTEXT     NULL      COMMENT 'the event, byte for byte; a JSON column would reorder it',
  PRIMARY KEY (event_time, event_id),
  KEY by_wiki (wiki, event_time)
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin
PARTITION BY RANGE COLUMNS (event_time) (
  PARTITION p_rest VALUES LESS THAN (MAXVALUE)
);

CREATE TABLE IF NOT EXISTS edits_per_wiki_minute (
  wiki                  VARBINARY(255) NOT NULL,
  window_start          DATETIME(3)    NOT NULL,
  window_end            DATETIME(3)    NULL,
  events                BIGINT         NULL,
  edits                 BIGINT         NULL  COMMENT 'types edit and new',
  new_pages             BIGINT         NULL,
  logs                  BIGINT         NULL,
  categorize            BIGINT         NULL,
  bot_events            BIGINT         NULL,
  anon_or_temp_edits    BIGINT         NULL,
  minor_edits           BIGINT         NULL,
  bytes_added           BIGINT         NULL,
  bytes_removed         BIGINT         NULL  COMMENT 'positive',
  distinct_edit_users   BIGINT         NULL  COMMENT 'cannot be summed over windows',
  distinct_edited_pages BIGINT         NULL  COMMENT 'cannot be summed over windows',
  PRIMARY KEY (wiki, window_start),
  KEY by_window (window_start)
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE IF NOT EXISTS edits_per_user_5m (
  wiki         VARBINARY(255) NOT NULL,
  user         VARBINARY(255) NOT NULL,
  window_start DATETIME(3)    NOT NULL,
  window_end   DATETIME(3)    NULL,
  edits        BIGINT         NULL,
  net_bytes    BIGINT         NULL,
  PRIMARY KEY (wiki, user, window_start),
  KEY by_window (window_start)
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE OR REPLACE SQL SECURITY INVOKER VIEW v_recentchange AS
SELECT event_time, CONVERT(event_id USING utf8mb4) AS event_id, CONVERT(wiki USING utf8mb4) AS wiki,
       type, namespace, CONVERT(title USING utf8mb4) AS title, CONVERT(user USING utf8mb4) AS user,
       bot, minor, patrolled, rc_id, log_id, log_type, log_action, length_old, length_new,
       revision_old, revision_new, delta, comment, server_name, domain, request_id, source_topic,
       source_partition, source_offset, payload
FROM recentchange;

CREATE OR REPLACE SQL SECURITY INVOKER VIEW v_edits_per_wiki_minute AS
SELECT CONVERT(wiki USING utf8mb4) AS wiki, window_start, window_end, events, edits, new_pages, logs,
       categorize, bot_events, anon_or_temp_edits, minor_edits, bytes_added, bytes_removed,
       distinct_edit_users, distinct_edited_pages
FROM edits_per_wiki_minute;

CREATE OR REPLACE SQL SECURITY INVOKER VIEW v_edits_per_user_5m AS
SELECT CONVERT(wiki USING utf8mb4) AS wiki, CONVERT(user USING utf8mb4) AS user,
       window_start, window_end, edits, net_bytes
FROM edits_per_user_5m;

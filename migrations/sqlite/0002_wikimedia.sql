-- Tables of topology/wikimedia.yaml; the views have the names that they have on MySQL.

CREATE TABLE IF NOT EXISTS recentchange (
  event_time       DATETIME NOT NULL,
  event_id         TEXT     NOT NULL,
  wiki             TEXT     NULL,
  type             TEXT     NULL,
  namespace        BIGINT   NULL,
  title            TEXT     NULL,
  user             TEXT     NULL,
  bot              BOOLEAN  NULL,
  minor            BOOLEAN  NULL,
  patrolled        BOOLEAN  NULL,
  rc_id            BIGINT   NULL,
  log_id           BIGINT   NULL,
  log_type         TEXT     NULL,
  log_action       TEXT     NULL,
  length_old       BIGINT   NULL,
  length_new       BIGINT   NULL,
  revision_old     BIGINT   NULL,
  revision_new     BIGINT   NULL,
  delta            BIGINT   NULL,
  comment          TEXT     NULL,
  server_name      TEXT     NULL,
  domain           TEXT     NULL,
  request_id       TEXT     NULL,
  source_topic     TEXT     NULL,
  source_partition BIGINT   NULL,
  source_offset    BIGINT   NULL,
  payload          TEXT     NULL,
  PRIMARY KEY (event_time, event_id)
);

CREATE INDEX IF NOT EXISTS recentchange_by_wiki ON recentchange (wiki, event_time);

CREATE TABLE IF NOT EXISTS edits_per_wiki_minute (
  wiki                  TEXT     NOT NULL,
  window_start          DATETIME NOT NULL,
  window_end            DATETIME NULL,
  events                BIGINT   NULL,
  edits                 BIGINT   NULL,
  new_pages             BIGINT   NULL,
  logs                  BIGINT   NULL,
  categorize            BIGINT   NULL,
  bot_events            BIGINT   NULL,
  anon_or_temp_edits    BIGINT   NULL,
  minor_edits           BIGINT   NULL,
  bytes_added           BIGINT   NULL,
  bytes_removed         BIGINT   NULL,
  distinct_edit_users   BIGINT   NULL,
  distinct_edited_pages BIGINT   NULL,
  PRIMARY KEY (wiki, window_start)
);

CREATE INDEX IF NOT EXISTS edits_per_wiki_minute_by_window ON edits_per_wiki_minute (window_start);

CREATE TABLE IF NOT EXISTS edits_per_user_5m (
  wiki         TEXT     NOT NULL,
  user         TEXT     NOT NULL,
  window_start DATETIME NOT NULL,
  window_end   DATETIME NULL,
  edits        BIGINT   NULL,
  net_bytes    BIGINT   NULL,
  PRIMARY KEY (wiki, user, window_start)
);

CREATE INDEX IF NOT EXISTS edits_per_user_5m_by_window ON edits_per_user_5m (window_start);

CREATE VIEW IF NOT EXISTS v_recentchange AS SELECT * FROM recentchange;

CREATE VIEW IF NOT EXISTS v_edits_per_wiki_minute AS SELECT * FROM edits_per_wiki_minute;

CREATE VIEW IF NOT EXISTS v_edits_per_user_5m AS SELECT * FROM edits_per_user_5m;

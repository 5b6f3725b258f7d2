-- Tables of topology/wikiticker.yaml; the views have the names that they have on MySQL.

CREATE TABLE IF NOT EXISTS wikiticker (
  partition_id     BIGINT   NOT NULL,
  record_offset    BIGINT   NOT NULL,
  event_time       DATETIME NULL,
  channel          TEXT     NULL,
  page             TEXT     NULL,
  user             TEXT     NULL,
  namespace        TEXT     NULL,
  comment          TEXT     NULL,
  is_anonymous     BOOLEAN  NULL,
  is_minor         BOOLEAN  NULL,
  is_new           BOOLEAN  NULL,
  is_robot         BOOLEAN  NULL,
  is_unpatrolled   BOOLEAN  NULL,
  delta            BIGINT   NULL,
  added            BIGINT   NULL,
  deleted          BIGINT   NULL,
  city_name        TEXT     NULL,
  country_iso_code TEXT     NULL,
  country_name     TEXT     NULL,
  region_iso_code  TEXT     NULL,
  region_name      TEXT     NULL,
  metro_code       BIGINT   NULL,
  payload          TEXT     NULL,
  PRIMARY KEY (partition_id, record_offset)
);

CREATE INDEX IF NOT EXISTS wikiticker_by_time ON wikiticker (event_time);

CREATE TABLE IF NOT EXISTS wikiticker_channel_hour (
  channel        TEXT     NOT NULL,
  window_start   DATETIME NOT NULL,
  window_end     DATETIME NULL,
  edits          BIGINT   NULL,
  bot_edits      BIGINT   NULL,
  anon_edits     BIGINT   NULL,
  new_pages      BIGINT   NULL,
  added          BIGINT   NULL,
  deleted        BIGINT   NULL,
  distinct_users BIGINT   NULL,
  distinct_pages BIGINT   NULL,
  PRIMARY KEY (channel, window_start)
);

CREATE INDEX IF NOT EXISTS wikiticker_channel_hour_by_window ON wikiticker_channel_hour (window_start);

CREATE VIEW IF NOT EXISTS v_wikiticker AS SELECT * FROM wikiticker;

CREATE VIEW IF NOT EXISTS v_wikiticker_channel_hour AS SELECT * FROM wikiticker_channel_hour;

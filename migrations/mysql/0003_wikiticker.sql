-- Tables of topology/wikiticker.yaml. Every statement can be repeated.

-- The rows of the sample have no id of their own: the record's place in the topic is the key.
CREATE TABLE IF NOT EXISTS wikiticker (
  partition_id     INT            NOT NULL,
  record_offset    BIGINT         NOT NULL,
  event_time       DATETIME(3)    NULL,
  channel          VARBINARY(255) NULL,
  page             VARBINARY(1024) NULL,
  user             VARBINARY(255) NULL,
  namespace        VARCHAR(255)   NULL  COMMENT 'localised name',
  comment          TEXT           NULL,
  is_anonymous     BOOLEAN        NULL,
  is_minor         BOOLEAN        NULL,
  is_new           BOOLEAN        NULL,
  is_robot         BOOLEAN        NULL,
  is_unpatrolled   BOOLEAN        NULL,
  delta            BIGINT         NULL,
  added            BIGINT         NULL,
  deleted          BIGINT         NULL,
  city_name        VARCHAR(255)   NULL,
  country_iso_code VARCHAR(255)   NULL,
  country_name     VARCHAR(255)   NULL,
  region_iso_code  VARCHAR(255)   NULL,
  region_name      VARCHAR(255)   NULL,
  metro_code       BIGINT         NULL,
  payload          MEDIUMTEXT     NULL  COMMENT 'the record, byte for byte',
  PRIMARY KEY (partition_id, record_offset),
  KEY by_time (event_time)
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE IF NOT EXISTS wikiticker_channel_hour (
  channel        VARBINARY(255) NOT NULL,
  window_start   DATETIME(3)    NOT NULL,
  window_end     DATETIME(3)    NULL,
  edits          BIGINT         NULL,
  bot_edits      BIGINT         NULL,
  anon_edits     BIGINT         NULL,
  new_pages      BIGINT         NULL,
  added          BIGINT         NULL,
  deleted        BIGINT         NULL,
  distinct_users BIGINT         NULL  COMMENT 'cannot be summed over windows',
  distinct_pages BIGINT         NULL  COMMENT 'cannot be summed over windows',
  PRIMARY KEY (channel, window_start),
  KEY by_window (window_start)
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE OR REPLACE SQL SECURITY INVOKER VIEW v_wikiticker AS
SELECT partition_id, record_offset, event_time, CONVERT(channel USING utf8mb4) AS channel,
       CONVERT(page USING utf8mb4) AS page, CONVERT(user USING utf8mb4) AS user, namespace, comment,
       is_anonymous, is_minor, is_new, is_robot, is_unpatrolled, delta, added, deleted, city_name,
       country_iso_code, country_name, region_iso_code, region_name, metro_code, payload
FROM wikiticker;

CREATE OR REPLACE SQL SECURITY INVOKER VIEW v_wikiticker_channel_hour AS
SELECT CONVERT(channel USING utf8mb4) AS channel, window_start, window_end, edits, bot_edits,
       anon_edits, new_pages, added, deleted, distinct_users, distinct_pages
FROM wikiticker_channel_hour;

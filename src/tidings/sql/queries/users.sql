-- name: create
-- $9: phone as E.164.
INSERT INTO users (project_id, external_id, name, email, phone, locale, timezone, chat_url, number)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
RETURNING id, external_id, name, email, phone, locale, timezone,
    split_part(chat_url, '://', 1) AS chat, created_at, updated_at

-- name: upsert
-- By external_id. Fields that the caller left out ($10: the ones given) stay as they are.
INSERT INTO users AS u (project_id, external_id, name, email, phone, locale, timezone, chat_url, number)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
ON CONFLICT (project_id, external_id) DO UPDATE SET
    name = CASE WHEN 'name' = ANY($10::text[]) THEN excluded.name ELSE u.name END,
    email = CASE WHEN 'email' = ANY($10::text[]) THEN excluded.email ELSE u.email END,
    phone = CASE WHEN 'phone' = ANY($10::text[]) THEN excluded.phone ELSE u.phone END,
    number = CASE WHEN 'phone' = ANY($10::text[]) THEN excluded.number ELSE u.number END,
    locale = CASE WHEN 'locale' = ANY($10::text[]) THEN excluded.locale ELSE u.locale END,
    timezone = CASE WHEN 'timezone' = ANY($10::text[]) THEN excluded.timezone ELSE u.timezone END,
    chat_url = CASE WHEN 'chat_url' = ANY($10::text[]) THEN excluded.chat_url ELSE u.chat_url END,
    updated_at = now()
RETURNING id, external_id, name, email, phone, locale, timezone,
    split_part(chat_url, '://', 1) AS chat, created_at, updated_at, (xmax = 0) AS created

-- name: change
-- $4: the names of the fields given; the others stay.
UPDATE users SET
    external_id = CASE WHEN 'external_id' = ANY($3::text[]) THEN $4 ELSE external_id END,
    name = CASE WHEN 'name' = ANY($3::text[]) THEN $5 ELSE name END,
    email = CASE WHEN 'email' = ANY($3::text[]) THEN $6 ELSE email END,
    phone = CASE WHEN 'phone' = ANY($3::text[]) THEN $7 ELSE phone END,
    number = CASE WHEN 'phone' = ANY($3::text[]) THEN $11 ELSE number END,
    locale = CASE WHEN 'locale' = ANY($3::text[]) THEN $8 ELSE locale END,
    timezone = CASE WHEN 'timezone' = ANY($3::text[]) THEN $9 ELSE timezone END,
    chat_url = CASE WHEN 'chat_url' = ANY($3::text[]) THEN $10 ELSE chat_url END,
    updated_at = now()
WHERE project_id = $1 AND id = $2
RETURNING id, external_id, name, email, phone, locale, timezone,
    split_part(chat_url, '://', 1) AS chat, created_at, updated_at

-- name: get
SELECT id, external_id, name, email, phone, locale, timezone,
    split_part(chat_url, '://', 1) AS chat, created_at, updated_at
FROM users WHERE project_id = $1 AND id = $2

-- name: list
-- By id, from after $2. $3: only this external_id, $4: only this email; null is any.
SELECT id, external_id, name, email, phone, locale, timezone,
    split_part(chat_url, '://', 1) AS chat, created_at, updated_at
FROM users
WHERE project_id = $1 AND id > $2
  AND ($3::text IS NULL OR external_id = $3) AND ($4::text IS NULL OR email = $4)
ORDER BY id LIMIT $5

-- name: lock
SELECT id FROM users WHERE project_id = $1 AND id = $2 FOR UPDATE

-- name: delete
-- The devices go with the user.
DELETE FROM users WHERE project_id = $1 AND id = $2

-- name: erase_details
-- What vendors said about the user's deliveries may quote what was said. Rows are locked in the order of the worker,
-- which writes deliveries before notifications.
WITH mine AS (
    SELECT d.notification_id, d.channel, d.device_id
    FROM notifications n JOIN deliveries d ON d.notification_id = n.id
    WHERE n.project_id = $1 AND n.user_id = $2
    ORDER BY d.notification_id, d.channel, d.device_id FOR NO KEY UPDATE OF d
), tries AS (
    UPDATE attempts a SET detail = NULL FROM mine
    WHERE a.notification_id = mine.notification_id AND a.channel = mine.channel AND a.device_id = mine.device_id
      AND a.detail IS NOT NULL
)
UPDATE deliveries d SET detail = NULL FROM mine
WHERE d.notification_id = mine.notification_id AND d.channel = mine.channel AND d.device_id = mine.device_id
  AND d.detail IS NOT NULL

-- name: erase_notifications
-- The ledger keeps that something was said and what became of it, not what it said. What is scheduled is cancelled.
WITH mine AS (
    SELECT id FROM notifications WHERE project_id = $1 AND user_id = $2 ORDER BY id FOR NO KEY UPDATE
)
UPDATE notifications n SET title = '', body = '', data = '{}', overrides = NULL, collapse_key = NULL,
    status = CASE WHEN n.status = 'scheduled' THEN 'cancelled' ELSE n.status END
FROM mine WHERE n.id = mine.id

-- name: exists
SELECT EXISTS (SELECT FROM users WHERE project_id = $1 AND id = $2)

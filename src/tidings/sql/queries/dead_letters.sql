-- name: list
-- Newest first, from before notification $2. $3: only this reason, $4: only this channel, $5: only those that failed
-- since; null is any. Those of one notification come together, so that the next page can begin with the next one.
SELECT * FROM (
SELECT d.notification_id, d.channel, d.device_id, d.reason, d.detail, d.provider, d.emulated, d.attempts,
    d.updated_at AS failed_at, n.user_id, n.title
FROM deliveries d JOIN notifications n ON n.id = d.notification_id
WHERE d.project_id = $1 AND d.status = 'failed' AND d.notification_id < $2
  AND ($3::text IS NULL OR d.reason = $3) AND ($4::text IS NULL OR d.channel = $4)
  AND ($5::timestamptz IS NULL OR d.updated_at >= $5)
ORDER BY d.notification_id DESC FETCH FIRST ($6) ROWS WITH TIES
) AS page ORDER BY notification_id DESC, channel, device_id

-- name: redrive
-- Failed deliveries wait again, with as many attempts as at first; sent and delivered ones are never touched. Their
-- notifications live once more as long. Null in $2 to $6 is any; at most $7 deliveries. One row: what was redriven.
WITH wanted AS (
    SELECT d.notification_id, d.channel, d.device_id
    FROM deliveries d
    WHERE d.project_id = $1 AND d.status = 'failed'
      AND ($2::bigint[] IS NULL OR d.notification_id = ANY($2)) AND ($3::text IS NULL OR d.channel = $3)
      AND ($4::bigint IS NULL OR d.device_id = $4) AND ($5::text IS NULL OR d.reason = $5)
      AND ($6::timestamptz IS NULL OR d.updated_at >= $6)
    ORDER BY d.notification_id, d.channel, d.device_id LIMIT $7
    FOR UPDATE SKIP LOCKED
), redriven AS (
    UPDATE deliveries d SET status = 'pending', reason = NULL, next_attempt_at = now(), updated_at = now(),
        attempts_allowed = d.attempts + $8::integer
    FROM wanted w
    WHERE d.notification_id = w.notification_id AND d.channel = w.channel AND d.device_id = w.device_id
    RETURNING d.notification_id
), revived AS (
    UPDATE notifications n SET
        status = CASE WHEN n.status IN ('sent', 'delivered') THEN n.status ELSE 'pending' END,
        ttl_s = ceil(extract(epoch FROM now() - coalesce(n.scheduled_time, n.created_at)))::integer
            + greatest(least(n.ttl_s, 2419200), 60)
    WHERE n.id IN (SELECT notification_id FROM redriven)
    RETURNING n.id, n.lane
), work AS (
    INSERT INTO tasks (project_id, kind, lane, subject_ids, due_at, publish_at)
    SELECT $1, 'retry', lane, array_agg(id ORDER BY id), now(), now()
    FROM (SELECT *, (row_number() OVER (PARTITION BY lane ORDER BY id) - 1) / $9 AS part FROM revived) AS parted
    GROUP BY lane, part
)
SELECT (SELECT count(*) FROM redriven) AS deliveries, (SELECT count(*) FROM revived) AS notifications

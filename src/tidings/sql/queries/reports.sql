-- name: fail
-- What a vendor had taken did not arrive. A delivered one stays so. One that waits for another attempt (its vendor had
-- not answered in time) gets none, unless it was redriven: then the report is about an earlier attempt.
UPDATE deliveries d SET status = 'failed', reason = v.reason, detail = v.detail, next_attempt_at = NULL, updated_at = now()
FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::bigint[], $5::text[], $6::text[])
    AS v(project_id, notification_id, channel, device_id, reason, detail)
WHERE d.notification_id = v.notification_id AND d.channel = v.channel AND d.device_id = v.device_id
  AND d.project_id = v.project_id
  AND (d.status = 'sent' OR (d.status = 'pending' AND d.attempts > 0 AND d.attempts_allowed IS NULL))
RETURNING d.notification_id, d.channel, d.device_id

-- name: early
-- Those of which it is not recorded yet what their attempt came to: a worker is at it.
SELECT v.notification_id
FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::bigint[]) AS v(project_id, notification_id, channel, device_id)
JOIN notifications n ON n.id = v.notification_id AND n.project_id = v.project_id
LEFT JOIN deliveries d ON d.notification_id = v.notification_id AND d.channel = v.channel AND d.device_id = v.device_id
WHERE d.status = 'sending'
   OR (d.status IS NULL AND n.status IN ('pending', 'sending', 'sent') AND n.created_at > now() - interval '1 hour')
LIMIT 1

-- name: whose
-- The users of notifications, with their present addresses.
SELECT v.notification_id, n.user_id,
    CASE v.channel WHEN 'email' THEN u.email WHEN 'sms' THEN coalesce(u.number, u.phone) END AS address
FROM unnest($1::bigint[], $2::bigint[], $3::text[]) AS v(project_id, notification_id, channel)
JOIN notifications n ON n.id = v.notification_id AND n.project_id = v.project_id
LEFT JOIN users u ON u.id = n.user_id AND u.project_id = n.project_id

-- name: said
-- What these notifications say, which must not be kept with what became of them.
SELECT id, title, body, data, overrides FROM notifications WHERE id = ANY($1::bigint[])

-- name: fallen
-- Of these notifications those that have failed and may have another channel to try.
SELECT project_id, lane, array_agg(id ORDER BY id) AS ids FROM notifications
WHERE id = ANY($1::bigint[]) AND status = 'failed' AND routing LIKE '%>%'
GROUP BY project_id, lane

-- name: sharing
-- The projects that send over the operator's account: those without an own one of these providers.
SELECT p.id FROM projects p
WHERE NOT EXISTS (
    SELECT FROM provider_accounts a WHERE a.project_id = p.id AND a.enabled AND a.provider = ANY($1::text[])
)
ORDER BY p.id

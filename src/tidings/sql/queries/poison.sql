-- name: split
-- A task for each subject, so that the one that kills workers is found out; each is tried alone, a few times.
INSERT INTO tasks (project_id, kind, lane, subject_ids, due_at, publish_at, fence)
SELECT $1, $2, $3, ARRAY[s.id], now(), now(), $5 FROM unnest($4::bigint[]) AS s(id)

-- name: fail
-- Among the dead letters, where people look.
INSERT INTO deliveries (notification_id, channel, device_id, project_id, status, reason, detail, provider, emulated,
    attempts)
SELECT id, 'push', 0, project_id, 'failed', 'poison', $2, 'none', false, 0 FROM notifications WHERE id = ANY($1::bigint[])
ON CONFLICT (notification_id, channel, device_id) DO UPDATE SET status = 'failed', reason = 'poison',
    next_attempt_at = NULL, updated_at = now()

-- name: fail_waiting
UPDATE deliveries SET status = 'failed', reason = 'poison', next_attempt_at = NULL, updated_at = now()
WHERE notification_id = ANY($1::bigint[]) AND status IN ('pending', 'sending')

-- name: fail_notifications
UPDATE notifications SET status = 'failed' WHERE id = ANY($1::bigint[]) AND status IN ('scheduled', 'pending', 'sending')

-- The fingerprint of a device: SHA-256 of seven parts joined by '|'.

-- Known answers (sha256sum of the text in the comment).
-- 1170|2532|America/New_York|-300|||
SELECT artery.fingerprint(1170, 2532, 'America/New_York', -300, NULL, NULL, NULL)
     = 'daf0245cdbd8d74d5caf18c108e07e37f3380fceceb9303cbf6fede9fd9d92b7' AS four_parts;
-- 1170|2532|America/New_York|-300|mobile|iOS 18.0|Mobile Safari
SELECT artery.fingerprint(1170, 2532, 'America/New_York', -300, 'mobile', 'iOS 18.0', 'Mobile Safari')
     = 'efe94fabd53ae5269163e58eb45d4984b199ea4d0b55e0ee9cec2c48fd7a0e56' AS seven_parts;
-- 1920|1080|Asia/Kolkata|330|desktop|Windows|Chrome
SELECT artery.fingerprint(1920, 1080, 'Asia/Kolkata', 330, 'desktop', 'Windows', 'Chrome')
     = '77fa7ff9ff7e1b88aaf7239bd1b24c6094d1e2da4e64acc6928cd1e84fba5b31' AS positive_offset;
-- Three further known answers cannot be told by this signature: a screen width
-- of 1440.5 with parts spelt "None", a width spelt "True" (both are what a
-- language without types lets through; here widths are integers and an unknown
-- part is empty), and the hash of "||||||": nothing known is no fingerprint.
SELECT artery.fingerprint(NULL, NULL, NULL, NULL, NULL, NULL, NULL) IS NULL AS all_null,
       artery.fingerprint(NULL, NULL, '', NULL, '', '', '') IS NULL AS all_empty;

-- NULL and the empty text are the same; a zero is something known.
SELECT artery.fingerprint(1, 2, NULL, 3, NULL, 'b', NULL) = artery.fingerprint(1, 2, '', 3, '', 'b', '') AS null_is_empty,
       artery.fingerprint(0, NULL, NULL, NULL, NULL, NULL, NULL) = encode(sha256('0||||||'), 'hex') AS zero;

-- The rule, against the server's own hash: extremes, other scripts, long parts, the separator inside a part.
SELECT w,
       artery.fingerprint(w, h, tz, o, d, s, b)
     = encode(sha256(convert_to(concat_ws('|', w, h, tz, o, d, s, b), 'UTF8')), 'hex') AS agrees
  FROM (VALUES (2147483647, -2147483648, 'Europe/Zürich', -2147483648, 'téléphone', 'システム', '浏览器'),
               (0, 0, 'a|b', 0, '|', '||', 'x'),
               (1, 2, repeat('z', 500), 3, repeat('ü', 3000), 'y', 'x'),
               (320, 568, repeat('t', 483), 0, 'd', 's', 'b')) v(w, h, tz, o, d, s, b);

-- Many at once, each with its own answer.
SELECT count(*) AS hashes, count(DISTINCT f) AS different, bool_and(f = e) AS all_right
  FROM (SELECT artery.fingerprint(i, 2 * i, 'UTC', 0, 'mobile', NULL, 'b' || i) AS f,
               encode(sha256(convert_to(format('%s|%s|UTC|0|mobile||b%s', i, 2 * i, i), 'UTF8')), 'hex') AS e
          FROM generate_series(1, 1000) i) s;

SELECT provolatile, proparallel, proisstrict FROM pg_proc WHERE oid = 'artery.fingerprint'::regproc;

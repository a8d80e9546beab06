package grammar

// formats is the formats that are enforced, each as a regular expression of the whole text (empty: of any text). What they take always has the format; of email and
// uri they take the usual part of what the standard allows.
var formats = map[string]string{
	"date":      date,
	"time":      clock,
	"date-time": date + "T" + clock,
	"duration":  duration,
	"uuid":      `[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}`,
	"password":  "", // it is not to be shown
	"path":      "", // of a file, of which any text may be one
	"binary":    "", // it stands for bytes
	"ipv4":      octet + `(?:\.` + octet + `){3}`,
	"hostname":  label + `(?:\.` + label + `){0,5}`,
	"email":     `[A-Za-z0-9_+-](?:\.?[A-Za-z0-9_+-]){0,31}@` + label + `(?:\.` + label + `){1,5}`,
	"uri":       `[A-Za-z][A-Za-z0-9+.-]{0,15}:(?://(?:` + host + `(?:/` + segments + `)?|/` + segments + `)|/?` + pchar + segments + `)(?:\?` + query + `{0,150})?(?:#` + query + `{0,40})?`,
}

// RFC 3339, full-date: with the days that each month has, February 29 in leap years only.
const (
	leap = `(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)`
	date = `(?:[0-9]{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|02-(?:0[1-9]|1[0-9]|2[0-8]))|` + leap + `-02-29)`
)

// RFC 3339, full-time, without leap seconds.
const clock = `(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,9})?(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])`

// RFC 3339, appendix A.
const (
	hours    = `(?:[0-9]{1,9}H(?:[0-9]{1,9}M(?:[0-9]{1,9}S)?)?|[0-9]{1,9}M(?:[0-9]{1,9}S)?|[0-9]{1,9}S)`
	days     = `(?:[0-9]{1,9}Y(?:[0-9]{1,9}M(?:[0-9]{1,9}D)?)?|[0-9]{1,9}M(?:[0-9]{1,9}D)?|[0-9]{1,9}D)`
	duration = `P(?:[0-9]{1,9}W|` + days + `(?:T` + hours + `)?|T` + hours + `)`
)

// RFC 2673, section 3.2; RFC 1123, section 2.1, with labels of at most 31 characters; RFC 3986, with a host that is a name or an address of
// IPv4, without user, and at most 2000 characters, so that a limit that clients put on an address is kept without counting.
const (
	octet    = `(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])`
	label    = `[A-Za-z0-9](?:[A-Za-z0-9-]{0,29}[A-Za-z0-9])?`
	pchar    = `(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})`
	segments = `(?:[A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9A-Fa-f]{2}){0,400}`
	query    = `(?:[A-Za-z0-9._~!$&'()*+,;=:@/?-]|%[0-9A-Fa-f]{2})`
	host     = label + `(?:\.` + label + `){0,5}(?::[0-9]{1,5})?`
)

// numberFormats is the formats of numbers that OpenAPI has and that are enforced: the range of each. Numbers without a range are written so that
// they fit int64 and double anyway.
var numberFormats = map[string][2]string{
	"int32":  {"-2147483648", "2147483647"},
	"int64":  {},
	"double": {},
}

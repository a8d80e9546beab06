// Package notify tells receivers of incidents: webhooks and Alertmanager.
//
// A webhook gets the JSON that Alertmanager's webhooks get (prometheus.io/docs/alerting/latest/configuration/#webhook_config), with two
// headers more: Skein-Notification, a name that is the same whenever the same is told again, and, if the receiver has a secret,
// Skein-Signature: "t=UNIX SECONDS,v1=HEX", the HMAC-SHA256 of the seconds, a '.', and the body. Verify checks it.
//
// Alertmanager gets POST /api/v2/alerts of its API v2 (github.com/prometheus/alertmanager/blob/main/api/v2/openapi.yaml), with the
// secret as a bearer token.
package notify

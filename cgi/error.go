package cgi

import (
	"errors"
	"net/http"

	"containerd-shim-wagi-v1/cgi/guest"
)

// failure is why a request got no response from its script: the log has the reason, the client only the status.
type failure struct {
	status int
	reason string
}

func (f *failure) Error() string { return f.reason }

var (
	errNoRoute       = &failure{http.StatusNotFound, "no route matches"}
	errConnect       = &failure{http.StatusNotImplemented, "CONNECT is for proxies"}
	errHost          = &failure{http.StatusBadRequest, "Host is not NAME or NAME:PORT"}
	errPathInfo      = &failure{http.StatusBadRequest, "path holds an encoded zero byte"}
	errBodyTooLarge  = &failure{http.StatusRequestEntityTooLarge, "request body is longer than max_body"}
	errNoSpace       = &failure{http.StatusInsufficientStorage, "there is no space for the request body"}
	errBodyBroken    = &failure{http.StatusBadRequest, "request body broke off"}
	errBodySlow      = &failure{http.StatusRequestTimeout, "request body did not arrive within the timeout"}
	errEnded         = &failure{http.StatusServiceUnavailable, "client went away or gateway is shutting down"}
	errBusy          = &failure{http.StatusServiceUnavailable, "no guest is free: max_concurrency and queue are used up"}
	errCompiling     = &failure{http.StatusServiceUnavailable, "module is still being compiled"}
	errTimeout       = &failure{http.StatusGatewayTimeout, "guest ran into its timeout"}
	errStatus        = &failure{http.StatusBadGateway, "guest printed a Status that is no number from 200 to 999"}
	errInterim       = &failure{http.StatusInternalServerError, "guest printed a Status below 200, which is no final answer"}
	errNoHead        = &failure{http.StatusInternalServerError, "guest printed no head with a Content-Type, Location or Status field"}
	errHeadTooLarge  = &failure{http.StatusInternalServerError, "guest printed a head of more than 64 KiB"}
	errFields        = &failure{http.StatusInternalServerError, "guest printed more than 1000 header fields"}
	errHeadEncoding  = &failure{http.StatusInternalServerError, "guest printed a head that is not UTF-8"}
	errHeadControl   = &failure{http.StatusInternalServerError, "guest printed a control character"}
	errOutput        = &failure{http.StatusInternalServerError, "guest printed more than max_output"}
	errRedirectDepth = &failure{http.StatusInternalServerError, "local redirects lead nowhere"}
)

// statusOf is the status that tells a client about err: 500 unless the failure knows a better one.
func statusOf(err error) int {
	var f *failure
	if errors.As(err, &f) {
		return f.status
	}
	if _, ok := errors.AsType[*guest.LimitError](err); ok {
		return http.StatusGatewayTimeout
	}
	return http.StatusInternalServerError
}

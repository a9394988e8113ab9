"""`POST /v1/certificate/request` and `PUT /v1/certificate`: the agent's own certificate, renewed in place."""

from flask import Blueprint, Response

from systemvm.agent.answers import answer, body
from systemvm.engine.renewal import Renewal
from systemvm.spec.certificate import SignedCertificate


def blueprint(renewal: Renewal) -> Blueprint:
    """Routes of the renewal."""
    routes = Blueprint("certificate", __name__)

    @routes.post("/v1/certificate/request")
    def request_certificate() -> Response:
        return answer(renewal.request())

    @routes.put("/v1/certificate")
    def put_certificate() -> Response:
        return answer(renewal.take(body(SignedCertificate)))

    return routes

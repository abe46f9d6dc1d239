"""The balancer's flags.  Imports nothing that runs."""

from pydantic import Field, field_validator

from k8sfromscratch.process.flags import Duration, Flags


class BalancerFlags(Flags):
    """apiserver-balancer passes this machine's connections on to whichever apiserver is well."""

    bind_address: str = Field("127.0.0.1", description="address to listen on; apiservers' certificates name 127.0.0.1")
    port: int = Field(6444, ge=0, le=65535, description="port to listen on; 0 lets the system choose")
    backends: list[str] = Field(description="apiservers as host:port")
    certificate_authority: str = Field(description="CA of the apiservers' certificates, to ask them for /readyz; what is passed on is not looked into")
    check_interval: Duration = Field(2.0, gt=0, description="time between checks of an apiserver")
    check_timeout: Duration = Field(3.0, gt=0, description="how long an apiserver may take to answer a check, or to take a connection")
    healthz_bind_address: str = Field("127.0.0.1", description="where /healthz and /metrics listen")
    healthz_port: int = Field(10246, ge=0, le=65535, description="port of /healthz and /metrics; 0 turns them off")

    @field_validator("backends")
    @classmethod
    def _host_and_port(cls, value: list[str]) -> list[str]:
        if not value:
            raise ValueError("at least one apiserver is needed")
        for backend in value:
            host, colon, port = backend.rpartition(":")
            if not (host and colon and port.isdigit() and 0 < int(port) < 65536):
                raise ValueError(f"{backend!r} is not of the form host:port")
        if len(set(value)) != len(value):
            raise ValueError("an apiserver is named twice")
        return value

"""Service account tokens in Secrets."""

from collections.abc import Iterable
from datetime import datetime

from k8sfromscratch.api.errors import NotFound
from k8sfromscratch.api.registry import SECRETS, SERVICE_ACCOUNTS
from k8sfromscratch.components.controller_manager.controller import Context, Controller, Trigger, own_key
from k8sfromscratch.core.reconcile import objects, serviceaccount_token
from k8sfromscratch.core.reconcile.plan import Object, Plan


def serviceaccount_token_controller(context: Context) -> Controller:
    """The tokens are the apiserver's: it alone has the key."""
    accounts = context.informers.get(SERVICE_ACCOUNTS)
    secrets = context.informers.get(SECRETS, field_selector=f"type={serviceaccount_token.SECRET_TYPE}")

    def secrets_of(old: Object | None, new: Object | None) -> Iterable[str]:
        """Those of an account that has come or gone."""
        changed = (new or old) if old is None or new is None or objects.uid(old) != objects.uid(new) else None
        if changed is None:
            return ()
        of = objects.namespace(changed), objects.name(changed)
        return [objects.key(one) for one in secrets.store.list() if (objects.namespace(one), serviceaccount_token.account_of(one)) == of]

    async def account_of(secret: Object) -> Object | None:
        """Asked of the apiserver where the cache does not know it: a Secret is deleted on this."""
        name, namespace = serviceaccount_token.account_of(secret), objects.namespace(secret)
        known = accounts.store.get(f"{namespace}/{name}")
        if known is not None or not name:
            return known
        try:
            return await context.client.get(SERVICE_ACCOUNTS, name, namespace)
        except NotFound:
            return None

    async def plan(key: str, now: datetime) -> Plan:
        secret = secrets.store.get(key)
        if secret is None or objects.deleting(secret):
            return Plan()
        account = await account_of(secret)
        token = ""
        if serviceaccount_token.needs_token(secret, account):
            request = serviceaccount_token.token_request(secret)
            answer = await context.client.create(SERVICE_ACCOUNTS, request, name=serviceaccount_token.account_of(secret), subresource="token")
            token = answer["status"]["token"]
        return serviceaccount_token.plan(secret, account, context.options.root_ca, token)

    return Controller("serviceaccount-token-controller", plan, (Trigger(secrets, own_key), Trigger(accounts, secrets_of)))

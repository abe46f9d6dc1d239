"""LIST: selectors, pages, versions, forms."""

import pytest

CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"


async def fill(api, count=10):
    for index in range(count):
        body = api.config_map(f"c{index:02}")
        body["metadata"]["labels"] = {"parity": "even" if index % 2 == 0 else "odd", "n": str(index)}
        await api.json("POST", CONFIG_MAPS, body, status=201)


def names(listed):
    return [item["metadata"]["name"] for item in listed["items"]]


def test_a_list_has_kind_version_and_items_in_order_of_names(with_api):
    async def main(api):
        await fill(api, 3)
        listed = await api.json("GET", CONFIG_MAPS, status=200)
        assert (listed["kind"], listed["apiVersion"]) == ("ConfigMapList", "v1")
        assert names(listed) == ["c00", "c01", "c02"]
        assert int(listed["metadata"]["resourceVersion"]) >= int(listed["items"][-1]["metadata"]["resourceVersion"])
        assert names(await api.json("GET", "/api/v1/configmaps", status=200)) == ["c00", "c01", "c02"]
        assert (await api.json("GET", "/api/v1/namespaces/kube-public/configmaps"))["items"] == []

    with_api(main)


def test_a_list_holds_every_write_that_was_answered_before(with_api):
    async def main(api):
        for index in range(50):
            await api.json("POST", CONFIG_MAPS, api.config_map(f"c{index}"))
            assert len((await api.json("GET", CONFIG_MAPS))["items"]) == index + 1

    with_api(main)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"labelSelector": "parity=even"}, [0, 2, 4, 6, 8]),
        ({"labelSelector": "parity!=even,n notin (1,3)"}, [5, 7, 9]),
        ({"labelSelector": "missing"}, []),
        ({"labelSelector": "n in (7, 8)"}, [7, 8]),
        ({"fieldSelector": "metadata.name=c04"}, [4]),
        ({"fieldSelector": "metadata.name!=c00", "labelSelector": "parity=even"}, [2, 4, 6, 8]),
        ({"fieldSelector": "metadata.namespace=default,metadata.name=c01"}, [1]),
        ({"fieldSelector": "metadata.namespace=kube-system"}, []),
    ],
)
def test_selectors(with_api, query, expected):
    async def main(api):
        await fill(api)
        assert names(await api.json("GET", CONFIG_MAPS, status=200, **query)) == [f"c{index:02}" for index in expected]

    with_api(main)


def test_pages_are_of_one_moment_whatever_happens_between_them(with_api):
    async def main(api):
        await fill(api)
        page = await api.json("GET", CONFIG_MAPS, limit="3", status=200)
        seen, version = names(page), page["metadata"]["resourceVersion"]
        assert page["metadata"]["remainingItemCount"] == 7
        await api.json("DELETE", f"{CONFIG_MAPS}/c05")
        await api.json("POST", CONFIG_MAPS, api.config_map("c055"))
        while page["metadata"].get("continue"):
            page = await api.json("GET", CONFIG_MAPS, limit="3", continue_=page["metadata"]["continue"], status=200)
            assert page["metadata"]["resourceVersion"] == version
            seen += names(page)
        assert seen == [f"c{index:02}" for index in range(10)]

    with_api(main)


def test_pages_of_a_selection_are_full(with_api):
    async def main(api):
        await fill(api)
        page = await api.json("GET", CONFIG_MAPS, limit="2", labelSelector="parity=odd")
        assert names(page) == ["c01", "c03"]
        assert "remainingItemCount" not in page["metadata"]
        page = await api.json("GET", CONFIG_MAPS, limit="2", labelSelector="parity=odd", continue_=page["metadata"]["continue"])
        assert names(page) == ["c05", "c07"]

    with_api(main)


def test_a_page_whose_history_is_compacted_expires(with_api):
    async def main(api):
        await fill(api)
        page = await api.json("GET", CONFIG_MAPS, limit="3")
        await api.json("DELETE", f"{CONFIG_MAPS}/c00")
        await api.storage.compact(await api.server.feed.caught_up())
        expired = await api.json("GET", CONFIG_MAPS, limit="3", continue_=page["metadata"]["continue"], status=410)
        assert expired["reason"] == "Expired"

    with_api(main)


def test_an_exact_version_is_that_moment(with_api):
    async def main(api):
        await fill(api, 3)
        then = (await api.json("GET", CONFIG_MAPS))["metadata"]["resourceVersion"]
        await api.json("DELETE", f"{CONFIG_MAPS}/c01")
        query = {"resourceVersion": then, "resourceVersionMatch": "Exact"}
        listed = await api.json("GET", CONFIG_MAPS, status=200, **query)
        assert names(listed) == ["c00", "c01", "c02"]
        assert listed["metadata"]["resourceVersion"] == then

    with_api(main)


@pytest.mark.parametrize(
    "query",
    [
        {"labelSelector": "a in"},
        {"labelSelector": "="},
        {"fieldSelector": "spec.nodeName=x"},
        {"fieldSelector": "nonsense"},
        {"limit": "x"},
        {"continue": "???"},
        {"continue": "e30"},
        {"resourceVersion": "x"},
        {"timeoutSeconds": "x"},
        {"watch": "true", "timeoutSeconds": "x"},
    ],
)
def test_bad_queries_are_the_clients_fault(with_api, query):
    async def main(api):
        refused = await api.json("GET", CONFIG_MAPS, **query)
        assert refused["code"] == 400, refused
        assert refused["status"] == "Failure"

    with_api(main)


@pytest.mark.parametrize(
    "query",
    [
        {"resourceVersionMatch": "Exact"},
        {"resourceVersionMatch": "Whatever", "resourceVersion": "1"},
        {"resourceVersionMatch": "Exact", "resourceVersion": "0"},
    ],
)
def test_contradicting_options_are_told_as_an_invalid_object_is(with_api, query):
    async def main(api):
        refused = await api.json("GET", CONFIG_MAPS, status=422, **query)
        assert refused["details"]["kind"] == "ListOptions"
        assert [cause["field"] for cause in refused["details"]["causes"]] == ["resourceVersionMatch"]

    with_api(main)


def test_a_table_has_rows_of_cells_with_their_metadata(with_api):
    async def main(api):
        await api.json("POST", CONFIG_MAPS, api.config_map("a", k="v", l="w"))
        table = await api.json("GET", CONFIG_MAPS, headers={"accept": TABLE}, status=200)
        assert (table["kind"], table["apiVersion"]) == ("Table", "meta.k8s.io/v1")
        assert [column["name"] for column in table["columnDefinitions"]] == ["Name", "Data", "Age"]
        assert table["rows"][0]["cells"][:2] == ["a", 2]
        assert table["rows"][0]["object"]["kind"] == "PartialObjectMetadata"
        one = await api.json("GET", f"{CONFIG_MAPS}/a", headers={"accept": TABLE}, includeObject="Object")
        assert one["rows"][0]["object"]["data"] == {"k": "v", "l": "w"}
        none = await api.json("GET", f"{CONFIG_MAPS}/a", headers={"accept": TABLE}, includeObject="None")
        assert "object" not in none["rows"][0]

    with_api(main)


def test_metadata_alone(with_api):
    async def main(api):
        await api.json("POST", CONFIG_MAPS, api.config_map("a", k="v"))
        accept = {"accept": "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"}
        listed = await api.json("GET", CONFIG_MAPS, headers=accept)
        assert listed["kind"] == "PartialObjectMetadataList"
        assert set(listed["items"][0]) == {"kind", "apiVersion", "metadata"}

    with_api(main)


def test_yaml_is_answered_where_it_is_asked_for(with_api):
    async def main(api):
        await api.json("POST", CONFIG_MAPS, api.config_map("a", k="v"))
        response = await api.request("GET", f"{CONFIG_MAPS}/a", headers={"accept": "application/yaml"})
        assert response.content_type == "application/yaml"
        assert b"k: v\n" in response.body
        refused = await api.request("GET", f"{CONFIG_MAPS}/a", headers={"accept": "application/vnd.kubernetes.protobuf"})
        assert refused.status == 406

    with_api(main)


def test_large_answers_are_compressed_where_the_client_takes_it(with_api):
    async def main(api):
        for index in range(40):
            await api.json("POST", CONFIG_MAPS, api.config_map(f"c{index}", k="x" * 5000))
        plain = await api.request("GET", CONFIG_MAPS)
        packed = await api.request("GET", CONFIG_MAPS, headers={"accept-encoding": "gzip"})
        assert "Content-Encoding" not in plain.headers
        assert packed.headers["Content-Encoding"] == "gzip"
        assert len(packed.body) * 10 < len(plain.body)

    with_api(main)

"""Annotations: notes on resources. Those for administrators only are not shown to a resource's owner."""

from typing import Annotated, Any

from msgspec import Meta
from sqlalchemy import ColumnElement, Select

from mgmt.api.access import EVERYONE, ROOT, Ref
from mgmt.api.call import Call
from mgmt.api.lists import Equals, ListCommand
from mgmt.api.ownership import visible
from mgmt.api.params import MULTILINE, wrong_value
from mgmt.api.registry import DONE, Response, Spec, SyncCommand
from mgmt.api.resources import find_row, read_kind
from mgmt.api.responses.annotations import ANNOTATED, ANNOTATION
from mgmt.model.errors import PermissionDenied
from mgmt.store.tables import Annotation, User

MOST_TEXT = 4096
FILTERS = ("all", "self")


class ListAnnotations(ListCommand, kw_only=True, frozen=True):
    """Lists annotations on what the caller may see."""

    spec = Spec(answer=ANNOTATION, access=EVERYONE)
    searched = (Annotation.text,)

    entitytype: Annotated[str | None, "list only notes on this kind of thing, as VM"] = None
    entityid: Annotated[str | None, "list only notes on this", Equals(Annotation.entity_id)] = None
    userid: Annotated[str | None, Ref(User), Equals(Annotation.user_id), "list only notes of this user"] = (
        None
    )
    annotationfilter: Annotated[str, "all, or self for the caller's own"] = "all"

    def ownership(self, call: Call) -> ColumnElement[bool]:
        """Notes on whatever the caller covers."""
        return visible(
            call.session,
            call.caller,
            Annotation,
            account=None,
            domain_id=None,
            list_all=True,
            recursive=True,
            by_id=False,
        )

    def narrow(self, call: Call, query: Select[Any]) -> Select[Any]:
        """Only of one kind, or the caller's own; users see none that are for administrators."""
        if self.annotationfilter not in FILTERS:
            raise wrong_value("annotationfilter", self.annotationfilter, "all or self")
        if self.entitytype is not None:
            query = query.where(Annotation.entity_type == read_kind("entitytype", self.entitytype, ANNOTATED))
        if self.annotationfilter == "self":
            query = query.where(Annotation.user_id == call.caller.user.id)
        return query if call.caller.is_admin else query.where(Annotation.admins_only.is_(False))


class AddAnnotation(SyncCommand, kw_only=True, frozen=True):
    """Adds a note to a resource."""

    spec = Spec(answer=ANNOTATION, access=EVERYONE, event="ANNOTATION.CREATE")

    annotation: Annotated[str, "the note", MULTILINE, Meta(min_length=1, max_length=MOST_TEXT)]
    entitytype: Annotated[str, "the kind of thing it is on, as VM"]
    entityid: Annotated[str, "the ID of what it is on"]
    adminsonly: Annotated[bool, "true: only administrators see it"] = False

    def run(self, call: Call) -> Annotation:
        """Find and authorize what it is on; the note belongs to whose that is."""
        kind = read_kind("entitytype", self.entitytype, ANNOTATED)
        row = find_row(call, ANNOTATED[kind], "entityid", self.entityid)
        if self.adminsonly and not call.caller.is_admin:
            raise PermissionDenied(
                "Only administrators write notes for administrators; leave adminsonly away"
            )
        note = Annotation(
            account_id=getattr(row, "account_id", None) or call.caller.account.id,
            domain_id=getattr(row, "domain_id", None) or call.caller.domain.id,
            entity_type=kind,
            entity_id=row.id,
            text=self.annotation,
            user_id=call.caller.user.id,
            admins_only=self.adminsonly,
        )
        call.session.add(note)
        return note


class UpdateAnnotationVisibility(SyncCommand, kw_only=True, frozen=True):
    """Shows a note to the resource's owner, or to administrators only."""

    spec = Spec(answer=ANNOTATION, access=ROOT, event="ANNOTATION.UPDATE")

    id: Annotated[str, Ref(Annotation)]
    adminsonly: Annotated[bool, "true: only administrators see it"]

    def run(self, call: Call) -> Annotation:
        """Change it."""
        note = call.row(Annotation, self.id)
        note.admins_only = self.adminsonly
        return note


class RemoveAnnotation(SyncCommand, kw_only=True, frozen=True):
    """Removes a note; its author or an administrator may."""

    spec = Spec(access=EVERYONE, event="ANNOTATION.REMOVE")

    id: Annotated[str, Ref(Annotation)]

    def run(self, call: Call) -> Response:
        """Mark it as removed."""
        call.row(Annotation, self.id).removed = call.now()
        return DONE

//! Modules of Azure's own that a role imports. Some open endpoints that the definition does not show.

use crate::import::report::Findings;
use crate::import::xml::Element;

/// Modules, and the ports of the service that they open, all TCP.
const OPENING: [(&str, &str); 3] = [
    ("RemoteForwarder", "3389"),
    ("WebDeploy", "8172"),
    ("RemoteDebugger", "30400 to 30424 and 31400 to 31424"),
];

pub(super) fn report(element: Element<'_, '_>, role: &str, findings: &mut Findings) {
    findings.note(&element.place(), "Imports: not applicable: a matter of the instances themselves");
    for import in element.all("Import") {
        let Some(said) = import.get("moduleName") else { continue };
        let found = OPENING.iter().find(|(name, _)| name.eq_ignore_ascii_case(&said.value));
        if let Some((name, ports)) = found {
            let what = format!(
                "role {role} imports {name}, for which Azure opens TCP port {ports} of the service: it is not opened here; write an \
                 InputEndpoint if it is wanted"
            );
            findings.loss(&said.place, what);
        }
    }
}

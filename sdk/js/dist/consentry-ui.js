"use strict";(()=>{var o=()=>({banner(){},centre(){},placeholder(){},close(){}});window.consentry?.mount(o);})();
